import { hash, randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { isBgpAnnotation } from '../../api/node-bgp.ts';
import { type Kind, keyOf, type ManxObject } from '../../api/objects.ts';
import { validate } from '../../api/validate.ts';
import type { Change, Refusal } from '../datastore.ts';
import { createDigests } from './digests.ts';
import { objectPath, type Resource } from './resources.ts';
import { createSharing, shareParts } from './sharing.ts';

/**
 * The good objects of one kind as they were last told, and those refused. Raw objects come in, changes go out; only what
 * `validate` returns is kept, and what is equal to what is known is no change (a kubelet's heartbeat, a relist). Pure.
 */

export type Taken = {
	readonly resourceVersion: string;
	/** '' when the object has no readable name. */
	readonly key: string;
	/** Undefined when it was refused. */
	readonly object: ManxObject | undefined;
	/** Of the object. */
	readonly digest: number;
	readonly refusal: Refusal | undefined;
};

export type ObjectCache = {
	/** Reads one raw object, changing nothing; undefined if it is not one of this kind. */
	readonly read: (raw: unknown) => Taken | undefined;
	readonly set: (taken: Taken) => Change | undefined;
	readonly delete: (key: string) => Change | undefined;
	/** What a complete list makes of what is known. */
	readonly replace: (all: readonly Taken[]) => readonly Change[];
	/** The same objects come from elsewhere from now on. */
	readonly use: (resource: Resource) => void;
	readonly size: () => number;
	readonly refusals: () => Iterable<Refusal>;
};

type RawObject = {
	readonly apiVersion?: unknown;
	readonly kind?: unknown;
	readonly metadata?: { readonly resourceVersion?: unknown; readonly annotations?: unknown };
};

/** kubectl's last-applied-configuration is as long as the object: only annotations we read are looked at. */
const ourAnnotations = (annotations: unknown): unknown => {
	if (typeof annotations !== 'object' || annotations === null) return annotations;
	const ours = Object.entries(annotations).filter(([name]) => name.startsWith('manx.dev/') || isBgpAnnotation(name));
	return ours.length === 0 ? undefined : Object.fromEntries(ours);
};

/** Nobody can make two objects of one digest who does not know it. */
const salt = randomBytes(16).toString('hex');
/** 48 bits, which a number holds. */
const digestOf = (object: ManxObject): number => hash('sha1', salt + JSON.stringify(object), 'buffer').readUIntBE(0, 6);

/** `onRefused` is called once for each new reason. */
export const createObjectCache = (first: Resource, onRefused: (refusal: Refusal) => void = () => {}): ObjectCache => {
	const kind: Kind = first.kind;
	let resource = first;
	/**
	 * Digests of what was told last. Whoever takes the changes keeps the objects, in whatever shape suits: a node knows all
	 * pods of a large cluster, and need not twice.
	 */
	const known = createDigests();
	const refused = new Map<string, Refusal>();
	const share = createSharing();

	const read = (raw: unknown): Taken | undefined => {
		if (typeof raw !== 'object' || raw === null) return undefined;
		const object = raw as RawObject;
		// Items of a list of a built-in kind have neither kind nor apiVersion.
		const { rawKind = kind } = resource;
		if ((object.kind ?? rawKind) !== rawKind || (object.apiVersion ?? resource.apiVersion) !== resource.apiVersion) {
			return undefined;
		}
		const { metadata } = object;
		const cut = { ...metadata, annotations: ourAnnotations(metadata?.annotations) };
		const result = validate({ ...object, kind: rawKind, apiVersion: resource.apiVersion, metadata: cut });
		const resourceVersion = typeof metadata?.resourceVersion === 'string' ? metadata.resourceVersion : '';
		if (result.type === 'object') {
			const key = keyOf(result.object.metadata);
			const digest = digestOf(result.object);
			const object = known.get(key) === digest ? result.object : shareParts(result.object, share);
			return { resourceVersion, key, object, digest, refusal: undefined };
		}
		if (result.type === 'foreign') return undefined;
		const { key, field, reason } = result;
		const refusal = { source: objectPath(resource, key), object: `${kind} ${key}`.trim(), field, reason };
		return { resourceVersion, key, object: undefined, digest: 0, refusal };
	};

	const set: ObjectCache['set'] = ({ key, object, digest, refusal }) => {
		if (refusal === undefined) refused.delete(key);
		else if (!isDeepStrictEqual(refused.get(key), refusal)) {
			refused.set(key, refusal);
			onRefused(refusal);
		}
		if (object === undefined || known.get(key) === digest) return undefined;
		known.set(key, digest);
		return { type: 'set', object };
	};

	const remove: ObjectCache['delete'] = (key) => {
		refused.delete(key);
		return known.delete(key) ? { type: 'delete', kind, key } : undefined;
	};

	return {
		read,
		set,
		delete: remove,
		replace: (all) => {
			const present = new Set(all.map((taken) => taken.key));
			// An object without a readable name might be any of those known: all of them stay.
			const gone = present.has('') ? [] : [...known.keys(), ...refused.keys()].filter((key) => !present.has(key));
			return [...gone.map(remove), ...all.map(set)].filter((change) => change !== undefined);
		},
		use: (next) => {
			resource = next;
		},
		size: known.size,
		refusals: () => refused.values(),
	};
};
