/**
 * Who an address belongs to when several pods claim it (an address is reused before the old pod's object is gone): a pod
 * that counts before one that is finished, a wired one before one that is only reported, a running one before one that
 * is not, and of equals the first by name, so that the answer does not depend on the order of events.
 */
import { createPlaces } from './places.ts';
import { keyOfRecord, type PodRecord } from './records.ts';

export type AddressOwners = {
	/** Replaces a pod's claims and rank; returns the pods whose owned addresses may differ now. */
	readonly claim: (pod: PodRecord, claims: readonly string[], rank: number) => ReadonlySet<PodRecord>;
	readonly ownerOf: (address: string) => PodRecord | undefined;
	/** Those of the pod's claims that it prevails with. */
	readonly ownedBy: (pod: PodRecord) => readonly string[];
};

const sameList = (a: readonly string[], b: readonly string[]): boolean =>
	a === b || (a.length === b.length && a.every((item, i) => item === b[i]));

const nobody: ReadonlySet<PodRecord> = new Set();

export const createAddressOwners = (): AddressOwners => {
	/** The usual address has one claimant, whose own list of claims tells the address: a Map of all would be 7 MB. */
	const single = createPlaces();
	const several = new Map<string, PodRecord[]>();

	const ownerOf = (address: string): PodRecord | undefined =>
		several
			.get(address)
			?.reduce((best, pod) =>
				pod.rank > best.rank || (pod.rank === best.rank && keyOfRecord(pod) < keyOfRecord(best)) ? pod : best,
			) ?? single.get(address);
	/** `pod.claims` has the address. */
	const addClaim = (address: string, pod: PodRecord): void => {
		const found = several.get(address);
		const other = single.get(address);
		if (found !== undefined) {
			found.push(pod);
		} else if (other !== undefined) {
			single.delete(address);
			several.set(address, [other, pod]);
		} else {
			single.add(address, pod);
		}
	};
	const dropClaim = (address: string, pod: PodRecord): void => {
		const found = several.get(address);
		if (found === undefined) {
			single.delete(address);
			return;
		}
		const rest = found.filter((other) => other !== pod);
		several.set(address, rest);
		if (rest.length > 1) return;
		several.delete(address);
		single.add(address, rest[0] as PodRecord);
	};

	return {
		claim: (pod, claims, rank) => {
			if (pod.rank === rank && sameList(pod.claims, claims)) return nobody;
			const touched = [...new Set([...pod.claims, ...claims])];
			const before = touched.map(ownerOf);
			for (const address of new Set(pod.claims)) dropClaim(address, pod);
			pod.claims = claims;
			pod.rank = rank;
			for (const address of new Set(claims)) addClaim(address, pod);
			const changed = new Set<PodRecord>();
			touched.forEach((address, i) => {
				const after = ownerOf(address);
				if (after === before[i]) return;
				if (after) changed.add(after);
				if (before[i]) changed.add(before[i]);
			});
			return changed;
		},
		ownerOf,
		ownedBy: (pod) => {
			const owned = pod.claims.filter((address) => ownerOf(address) === pod);
			return owned.length === pod.claims.length ? pod.claims : owned;
		},
	};
};
