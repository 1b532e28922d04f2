/**
 * Equal values as one object. A large cluster's pods differ in name and address and little else, and a node keeps all of
 * them: labels, ports and node names of 100,000 pods are 50 MB when each has its own, and next to nothing shared.
 */
import type { ManxObject } from '../../api/objects.ts';

/** Values told apart; beyond it all are forgotten and gather anew, so that what came and went is not kept for good. */
const most = 16_384;

export type Sharing = <T>(value: T) => T;

/** Only for values that nobody changes. */
export const createSharing = (): Sharing => {
	const known = new Map<string, unknown>();
	return <T>(value: T): T => {
		const text = typeof value === 'string' ? value : JSON.stringify(value);
		const same = known.get(text);
		if (same !== undefined && typeof same === typeof value) return same as T;
		if (known.size >= most) known.clear();
		known.set(text, value);
		return value;
	};
};

/** The object with those of its parts shared that many others have too. */
export const shareParts = (object: ManxObject, share: Sharing): ManxObject => {
	if (object.kind !== 'Pod') return object;
	const { metadata, spec, status } = object;
	const { namespace, labels, annotations, creationTimestamp } = metadata;
	return {
		kind: 'Pod',
		metadata: {
			...metadata,
			namespace: share(namespace),
			labels: share(labels),
			annotations: share(annotations),
			creationTimestamp: share(creationTimestamp),
		},
		spec: share(spec),
		status: { ...status, phase: share(status.phase) },
	};
};
