import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Document, isMap, isScalar, parse, parseAllDocuments, visit } from 'yaml';

/**
 * `npm run manifests`: renders manifests/kustomize into manifests/manx.yaml, so that an installation is one file and
 * needs no kustomize. What it knows of kustomize is what the kustomization uses: resources, labels, images; anything
 * else is refused. Comments of the sources stay.
 */

type Kustomization = {
	readonly resources: readonly string[];
	readonly labels?: readonly { readonly pairs: Readonly<Record<string, string>> }[];
	readonly images?: readonly { readonly name: string; readonly newName?: string; readonly newTag?: string }[];
};

const folder = join(import.meta.dirname, '../../manifests');
export const manifestFile = join(folder, 'manx.yaml');

const known = ['apiVersion', 'kind', 'resources', 'labels', 'images'];

const setImages = (document: Document, images: Kustomization['images'] = []): void =>
	visit(document, {
		Pair: (_, pair) => {
			if (!isScalar(pair.key) || pair.key.value !== 'image' || !isScalar(pair.value)) return;
			const { value } = pair.value;
			const image = images.find(({ name }) => name === value);
			if (image !== undefined) pair.value.value = `${image.newName ?? image.name}:${image.newTag ?? 'latest'}`;
		},
	});

export const renderManifests = (): string => {
	const source = join(folder, 'kustomize');
	const read = (name: string): string => readFileSync(join(source, name), 'utf8');
	const kustomization = parse(read('kustomization.yaml')) as Kustomization;
	const strange = Object.keys(kustomization).find((key) => !known.includes(key));
	if (strange !== undefined) throw new Error(`kustomization.yaml: this renderer does not know '${strange}'.`);
	const documents = kustomization.resources.flatMap((name) =>
		parseAllDocuments(read(name)).map((document) => {
			if (document.errors.length > 0 || !isMap(document.contents)) {
				throw new Error(`${name}: ${document.errors[0]?.message ?? 'a document is no object'}`);
			}
			for (const { pairs } of kustomization.labels ?? []) {
				for (const [key, value] of Object.entries(pairs)) document.setIn(['metadata', 'labels', key], value);
			}
			setImages(document, kustomization.images);
			return document.toString({ lineWidth: 0 }).replace(/^---\n/, '');
		}),
	);
	const head = '# Manx, everything a cluster needs. Rendered from manifests/kustomize by npm run manifests.\n';
	return head + documents.join('---\n');
};

if (import.meta.main) {
	writeFileSync(manifestFile, renderManifests());
	console.log(`${manifestFile} is written.`);
}
