import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { LabError } from './shell.ts';

/**
 * Kubernetes objects as people write them: YAML files with one or more documents, a folder of them, or standard
 * input. They are kept as written, whether good or bad; judging them is the daemons' part. Only what cannot be told
 * apart as an object (no YAML, no kind, no name) is refused here.
 */

export type Body = Readonly<Record<string, unknown>>;

export type Manifest = {
	readonly kind: string;
	/** '' for kinds that belong to no namespace. */
	readonly namespace: string;
	readonly name: string;
	readonly body: Body;
};

const clusterScoped = new Set(['Node', 'Namespace', 'BGPConfiguration', 'BGPPeer', 'BGPFilter', 'BFDProfile']);

export const isBody = (value: unknown): value is Body =>
	typeof value === 'object' && value !== null && !Array.isArray(value);

/** The mapping at `key`, or an empty one. */
export const bodyAt = (body: Body, key: string): Body => {
	const value = body[key];
	return isBody(value) ? value : {};
};

export const textAt = (body: Body, key: string): string => {
	const value = body[key];
	return typeof value === 'string' ? value : '';
};

export const listAt = (body: Body, key: string): readonly unknown[] => {
	const value = body[key];
	return Array.isArray(value) ? value : [];
};

export const textsAt = (body: Body, key: string): readonly string[] =>
	listAt(body, key).filter((value): value is string => typeof value === 'string');

export const titleOf = (manifest: Pick<Manifest, 'kind' | 'namespace' | 'name'>): string =>
	`${manifest.kind} ${manifest.namespace === '' ? '' : `${manifest.namespace}/`}${manifest.name}`;

/** The manifest in a document's value; a text says why there is none. */
export const asManifest = (value: unknown): Manifest | string => {
	if (!isBody(value)) return 'is not an object';
	const metadata = bodyAt(value, 'metadata');
	const [kind, name] = [textAt(value, 'kind'), textAt(metadata, 'name')];
	if (kind === '') return 'has no kind';
	if (name === '') return `(${kind}) has no metadata.name`;
	if (clusterScoped.has(kind)) return { kind, namespace: '', name, body: value };
	return { kind, namespace: textAt(metadata, 'namespace') || 'default', name, body: value };
};

/** Objects of one text. `source` names it in errors. A document of kind List is taken apart. */
export const parseManifests = (text: string, source: string): Manifest[] => {
	const manifests: Manifest[] = [];
	const add = (value: unknown, where: string) => {
		if (isBody(value) && textAt(value, 'kind') === 'List') {
			for (const [index, item] of listAt(value, 'items').entries()) add(item, `${where}, item ${index + 1}`);
			return;
		}
		const manifest = asManifest(value);
		if (typeof manifest === 'string') {
			throw new LabError(`${where}: the object ${manifest}. Each needs kind and metadata.name; nothing was changed.`);
		}
		manifests.push(manifest);
	};
	for (const [index, document] of [...parseAllDocuments(text)].entries()) {
		const where = index === 0 ? source : `${source}, document ${index + 1}`;
		const error = document.errors[0];
		if (error !== undefined) throw new LabError(`${where} is not YAML: ${error.message}`);
		const value: unknown = document.toJS();
		if (value !== null && value !== undefined) add(value, where);
	}
	return manifests;
};

const readText = (path: string): string => {
	try {
		return readFileSync(path === '-' ? 0 : path, 'utf8');
	} catch (error) {
		throw new LabError(`Cannot read ${path}: ${(error as Error).message}`);
	}
};

/** Files of a folder that hold manifests, sorted, folders below included; a file stands for itself. */
const filesOf = (path: string): string[] => {
	if (path === '-') return [path];
	const stat = statSync(path, { throwIfNoEntry: false });
	if (stat === undefined) throw new LabError(`There is no file or folder ${path}.`);
	if (!stat.isDirectory()) return [path];
	return readdirSync(path, { withFileTypes: true, recursive: true })
		.filter((entry) => entry.isFile() && /\.(ya?ml|json)$/.test(entry.name) && !entry.name.startsWith('.'))
		.map((entry) => join(entry.parentPath, entry.name))
		.sort();
};

/** Objects of all `inputs` (files, folders, `-`), in order; a later one of the same key replaces an earlier one. */
export const readManifests = (inputs: readonly string[]): Manifest[] => {
	const all = inputs.flatMap(filesOf).flatMap((file) => {
		const source = file === '-' ? 'standard input' : file;
		return parseManifests(readText(file), source);
	});
	if (inputs.length > 0 && all.length === 0) {
		throw new LabError(`${inputs.join(', ')}: no object in there (files that end in .yaml, .yml or .json are read).`);
	}
	return [...new Map(all.map((manifest) => [titleOf(manifest), manifest])).values()];
};
