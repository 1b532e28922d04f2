/**
 * Pods by address, where each address has one pod that claims it: an open hash table of pods and of which of its claims is
 * meant, so that an address costs 12 bytes beside the pod that has it anyway. A pod's claims must not change while it is in.
 */
import type { PodRecord } from './records.ts';

export type Places = {
	readonly get: (address: string) => PodRecord | undefined;
	/** Of an address that is not in; the pod claims it. */
	readonly add: (address: string, pod: PodRecord) => void;
	/** Nothing when it is not in. */
	readonly delete: (address: string) => void;
};

const smallest = 64;

/** Nobody gains by addresses that share a place: they are handed out, not chosen. */
const hashOf = (text: string): number => {
	let hash = 0;
	for (let i = 0; i < text.length; i++) {
		hash = Math.imul(hash ^ text.charCodeAt(i), 0x5bd1e995);
		hash ^= hash >>> 15;
	}
	return hash >>> 0;
};

export const createPlaces = (): Places => {
	/** Undefined: free; a power of two of them, at most three quarters in use. */
	let pods: (PodRecord | undefined)[] = new Array(smallest).fill(undefined);
	/** Which of the pod's claims. */
	let which = new Uint16Array(smallest);
	let size = 0;

	const addressAt = (place: number): string => pods[place]?.claims[which[place] as number] as string;
	const homeOf = (address: string): number => hashOf(address) & (pods.length - 1);
	/** Where the address is, or would be put. */
	const placeOf = (address: string): number => {
		const last = pods.length - 1;
		let place = homeOf(address);
		while (pods[place] !== undefined && addressAt(place) !== address) place = (place + 1) & last;
		return place;
	};
	const resize = (room: number): void => {
		const [oldPods, oldWhich] = [pods, which];
		pods = new Array(room).fill(undefined);
		which = new Uint16Array(room);
		for (const [i, pod] of oldPods.entries()) {
			if (pod === undefined) continue;
			const claim = oldWhich[i] as number;
			const place = placeOf(pod.claims[claim] as string);
			pods[place] = pod;
			which[place] = claim;
		}
	};

	return {
		get: (address) => pods[placeOf(address)],
		add: (address, pod) => {
			if ((size + 1) * 4 > pods.length * 3) resize(pods.length * 2);
			const place = placeOf(address);
			pods[place] = pod;
			which[place] = pod.claims.indexOf(address);
			size++;
		},
		delete: (address) => {
			let hole = placeOf(address);
			if (pods[hole] === undefined) return;
			size--;
			pods[hole] = undefined;
			const last = pods.length - 1;
			// Those behind it that were put off by it move up, so that a search ends at the first free place.
			for (let place = (hole + 1) & last; pods[place] !== undefined; place = (place + 1) & last) {
				const home = homeOf(addressAt(place));
				if (((place - home) & last) < ((place - hole) & last)) continue;
				pods[hole] = pods[place];
				which[hole] = which[place] as number;
				pods[place] = undefined;
				hole = place;
			}
			if (pods.length > smallest && size * 4 < pods.length) resize(pods.length / 2);
		},
	};
};
