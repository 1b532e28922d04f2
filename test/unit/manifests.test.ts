import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import packageJson from '../../package.json' with { type: 'json' };
import { imageName } from '../../src/image/name.ts';
import { manifestFile, renderManifests } from '../../src/image/render-manifests.ts';

const committed = readFileSync(manifestFile, 'utf8');
type Body = Record<string, unknown>;
const objects = parseAllDocuments(committed).map((document) => document.toJS() as Body);
const daemonSet = objects.find(({ kind }) => kind === 'DaemonSet') as {
	readonly spec: { readonly template: { readonly spec: { containers: Container[]; initContainers: Container[] } } };
};
type Container = {
	readonly name: string;
	readonly image: string;
	readonly securityContext: {
		readonly privileged?: boolean;
		readonly allowPrivilegeEscalation: boolean;
		readonly readOnlyRootFilesystem: boolean;
		readonly capabilities: { readonly drop: string[]; readonly add?: string[] };
	};
};
const { containers, initContainers } = daemonSet.spec.template.spec;

test('the committed manifest is what its sources render to', () => {
	assert.equal(committed, renderManifests(), 'run npm run manifests and commit the result');
	assert.ok(committed.split('\n').length < 500);
});

test('manifest, package and image speak of the same version', () => {
	for (const container of [...containers, ...initContainers]) assert.equal(container.image, imageName);
	const dockerfile = readFileSync(`${import.meta.dirname}/../../Dockerfile`, 'utf8');
	assert.ok(dockerfile.includes(`manx.dev/manx:${packageJson.version} `));
});

test('no container has more than it needs', () => {
	for (const { name, securityContext } of [...containers, ...initContainers]) {
		assert.equal(securityContext.privileged, undefined, name);
		assert.equal(securityContext.allowPrivilegeEscalation, false, name);
		assert.equal(securityContext.readOnlyRootFilesystem, true, name);
		assert.deepEqual(securityContext.capabilities.drop, ['ALL'], name);
	}
	const added = Object.fromEntries(
		[...containers, ...initContainers].map(({ name, securityContext }) => [
			name,
			securityContext.capabilities.add ?? [],
		]),
	);
	assert.deepEqual(added, {
		install: [],
		felix: ['NET_ADMIN', 'NET_RAW', 'SYS_ADMIN'],
		bird: ['NET_ADMIN', 'NET_BIND_SERVICE'],
	});
});
