import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { validate } from '../api/validate.ts';
import { paths, withLock, writeAtomically } from './lab-state.ts';
import { asManifest, type Body, bodyAt, type Manifest, textAt } from './manifests.ts';

/**
 * The lab's side of the directory datastore: one file an object, replaced atomically. After a batch of writes the
 * number in `.generation` is raised; a daemon that reports it has been given everything written before.
 */

type Key = Pick<Manifest, 'kind' | 'namespace' | 'name'>;

/** Dots, not dashes: a namespace holds none, so two objects never share a file. */
const fileOf = (key: Key): string => {
	const parts = [key.kind.toLowerCase(), key.namespace, key.name].filter((part) => part !== '');
	const name = encodeURIComponent(parts.join('.'));
	// A file's name holds 255 bytes.
	if (name.length < 200) return `${name}.yaml`;
	return `${name.slice(0, 180)}.${createHash('sha256').update(name).digest('hex').slice(0, 16)}.yaml`;
};

export const putObject = (lab: string, manifest: Manifest): void =>
	writeAtomically(
		join(paths(lab).objects, fileOf(manifest)),
		stringify(manifest.body, { aliasDuplicateObjects: false }),
	);

/** Whether there was one. */
export const removeObject = (lab: string, key: Key): boolean => {
	const path = join(paths(lab).objects, fileOf(key));
	try {
		rmSync(path);
		return true;
	} catch {
		return false;
	}
};

const readObject = (path: string): Manifest | undefined => {
	try {
		const manifest = asManifest(parse(readFileSync(path, 'utf8')));
		return typeof manifest === 'string' ? undefined : manifest;
	} catch {
		return undefined;
	}
};

export const getObject = (lab: string, key: Key): Manifest | undefined =>
	readObject(join(paths(lab).objects, fileOf(key)));

/** Every object in the folder, those put there by hand included; files that hold none are passed over. */
export const listObjects = (lab: string): Manifest[] => {
	const folder = paths(lab).objects;
	return readdirSync(folder)
		.filter((file) => file.endsWith('.yaml') && !file.startsWith('.'))
		.sort()
		.map((file) => readObject(join(folder, file)))
		.filter((manifest) => manifest !== undefined);
};

const readGeneration = (lab: string): number => {
	try {
		return Number(readFileSync(paths(lab).generation, 'utf8')) || 0;
	} catch {
		return 0;
	}
};

/** Declares everything written so far to be part of a new generation, and returns its number. */
export const raiseGeneration = (lab: string): Promise<number> =>
	withLock(lab, 'generation', async () => {
		const next = readGeneration(lab) + 1;
		writeAtomically(paths(lab).generation, `${next}\n`);
		return next;
	});

/** Why the daemons will refuse the object, `FIELD: REASON`, or undefined. It is written all the same. */
export const refusalOf = (manifest: Manifest): string | undefined => {
	const result = validate(manifest.body);
	return result.type === 'refused' ? `${result.field}${result.field === '' ? '' : ': '}${result.reason}` : undefined;
};

/** `body` with fields of one of its mappings replaced. */
export const withFields = (body: Body, key: string, fields: Body): Body => ({
	...body,
	[key]: { ...bodyAt(body, key), ...fields },
});

/** What the API server adds to an object on its way in: the namespace, a Namespace's name as its label. */
export const admitted = (manifest: Manifest): Manifest => {
	let body = manifest.body;
	if (manifest.namespace !== '' && textAt(bodyAt(body, 'metadata'), 'namespace') === '') {
		body = withFields(body, 'metadata', { namespace: manifest.namespace });
	}
	if (manifest.kind === 'Namespace') {
		const labels = { 'kubernetes.io/metadata.name': manifest.name, ...bodyAt(bodyAt(body, 'metadata'), 'labels') };
		body = withFields(body, 'metadata', { labels });
	}
	return body === manifest.body ? manifest : { ...manifest, body };
};
