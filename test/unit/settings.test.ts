import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { loadSettings } from '../../src/config.ts';

let folder: string;
const file = (text: string): string => {
	const path = join(folder, 'settings.yaml');
	writeFileSync(path, text);
	return path;
};

describe('settings', () => {
	before(() => {
		folder = mkdtempSync(join(tmpdir(), 'manx-settings-'));
	});
	after(() => rmSync(folder, { recursive: true }));

	it('have defaults for everything', () => {
		const result = loadSettings(undefined, {});
		assert.ok(result.ok);
		assert.equal(result.settings.mode, 'bgp');
		assert.equal(result.settings.masquerade, true);
	});

	it('come from the file, and the environment wins', () => {
		const result = loadSettings(file('mode: host-gw\nmtu: 1400\n'), {
			MANX_MTU: '9000',
			MANX_NODE_NAME: '7',
			MANX_NON_MASQUERADE_CIDRS: '10.0.0.1/8,fd00::/8',
			MANX_MASQUERADE: 'false',
		});
		assert.ok(result.ok, JSON.stringify(result));
		assert.equal(result.settings.mode, 'host-gw');
		assert.equal(result.settings.mtu, 9000);
		assert.equal(result.settings.nodeName, '7');
		assert.equal(result.settings.masquerade, false);
		assert.deepEqual(result.settings.nonMasqueradeCIDRs, ['10.0.0.0/8', 'fd00::/8']);
	});

	it('take the objects from Kubernetes in a pod, else from a directory, unless told', () => {
		const datastore = (text: string, environment: NodeJS.ProcessEnv) => {
			const result = loadSettings(file(text), environment);
			return result.ok ? result.settings.datastore : result.error;
		};
		const pod = { KUBERNETES_SERVICE_HOST: '10.96.0.1' };
		assert.deepEqual(datastore('', {}), { kind: 'directory', path: '/etc/manx/objects' });
		assert.deepEqual(datastore('', pod), { kind: 'kubernetes' });
		assert.deepEqual(datastore('', { ...pod, MANX_DATASTORE: '/x' }), { kind: 'directory', path: '/x' });
		assert.deepEqual(datastore('datastore: {kind: directory}', pod), { kind: 'directory', path: '/etc/manx/objects' });
		const given = 'datastore: {kind: kubernetes, kubeconfig: /k}';
		assert.deepEqual(datastore(given, {}), { kind: 'kubernetes', kubeconfig: '/k' });
		assert.deepEqual(datastore(given, { MANX_DATASTORE: 'kubernetes' }), { kind: 'kubernetes', kubeconfig: '/k' });
		assert.match(String(datastore('', { MANX_DATASTORE: 'kubernetes' })), /needs a kubeconfig/);
	});

	it('overlook what Kubernetes tells of Services', () => {
		assert.ok(
			loadSettings(undefined, { MANX_METRICS_SERVICE_HOST: '10.0.0.1', MANX_X_PORT_80_TCP_ADDR: '10.0.0.1' }).ok,
		);
	});

	const refused: [string, NodeJS.ProcessEnv, RegExp][] = [
		['masqerade: false', {}, /no setting 'masqerade'\. Did you mean 'masquerade'\?/],
		['mode: tunnel', {}, /^Setting mode: /],
		['podNetworks: [10.0.0.0/40]', {}, /^Setting podNetworks\.0: '10\.0\.0\.0\/40' is not a CIDR/],
		['- a', {}, /must hold settings/],
		['a: [', {}, /cannot be read/],
		['', { MANX_MODUS: 'bgp' }, /MANX_MODUS\. Did you mean MANX_MODE\?/],
		['', { MANX_MTU: 'big' }, /^Setting mtu: /],
	];
	for (const [text, environment, message] of refused) {
		it(`refuses ${text || Object.keys(environment)[0]}`, () => {
			const result = loadSettings(file(text), environment);
			assert.ok(!result.ok);
			assert.match(result.error, message);
		});
	}
});
