import type { Logger } from '../src/logging.ts';
import type { SpeakerConfig } from './config.ts';
import type { Fib } from './fib/types.ts';
import type { Rib } from './rib/types.ts';
import type { Timer, Timers } from './timers.ts';

/**
 * Our own prefixes in the RIB: those that the kernel holds for felix, since an address of them that no pod has would loop
 * otherwise. One that the kernel lost stays for a little while, as felix puts it back. Besides, the addresses of single pods
 * outside of them that felix wants announced; these go at once, as nothing here catches packets to one that is gone.
 */

export type Originator = {
	/** Replaces the prefixes that are to be announced; those of Services need nothing in the kernel. */
	readonly want: (config: Pick<SpeakerConfig, 'originate' | 'services' | 'communities'>) => void;
	readonly stop: () => void;
};

export type OriginatorPorts = {
	readonly rib: Pick<Rib, 'setLocal'>;
	readonly fib: Pick<Fib, 'felixHolds' | 'felixHosts' | 'onFelixChange'>;
	readonly log: Logger;
	readonly timers: Timers;
	/** The RIB was told something. */
	readonly changed: () => void;
};

/** A prefix whose blackhole is gone from the kernel is still announced for so long: felix puts it back in less. */
const WITHDRAW_DELAY_MS = 10_000;

export const createOriginator = ({ rib, fib, log, timers, changed }: OriginatorPorts): Originator => {
	/** Announced prefixes whose blackhole the kernel lost, and when they are withdrawn for it. */
	const leaving = new Map<string, Timer>();
	let prefixes: readonly string[] = [];
	let services: readonly string[] = [];
	let communities: SpeakerConfig['communities'] = {};
	let told = '';
	let announced: ReadonlySet<string> = new Set();

	const review = (): void => {
		const wanted = new Set(prefixes);
		for (const prefix of announced) {
			if (!wanted.has(prefix) || fib.felixHolds(prefix) || leaving.has(prefix)) continue;
			log.warn(
				{ prefix },
				`${prefix}: its blackhole route is gone; withdrawn in ${WITHDRAW_DELAY_MS / 1000} s unless it is back`,
			);
			leaving.set(
				prefix,
				timers.start(WITHDRAW_DELAY_MS, () => {
					leaving.delete(prefix);
					announced = new Set([...announced].filter((other) => other !== prefix));
					review();
				}),
			);
		}
		for (const [prefix, timer] of leaving) {
			if (wanted.has(prefix) && !fib.felixHolds(prefix)) continue;
			timer.cancel();
			leaving.delete(prefix);
		}
		const next = new Set([
			...[...wanted].filter((prefix) => fib.felixHolds(prefix) || leaving.has(prefix)),
			...fib.felixHosts(),
		]);
		for (const prefix of services) next.add(prefix);
		const text = JSON.stringify([[...next], communities]);
		if (text === told) return;
		told = text;
		for (const prefix of next) if (!announced.has(prefix)) log.info({ prefix }, `announcing ${prefix}`);
		for (const prefix of announced) if (!next.has(prefix)) log.info({ prefix }, `withdrawing ${prefix}`);
		announced = next;
		rib.setLocal([...next], communities);
		changed();
	};
	const stopFelix = fib.onFelixChange(review);

	return {
		want: (next) => {
			prefixes = next.originate;
			services = next.services ?? [];
			communities = next.communities ?? {};
			review();
		},
		stop: () => {
			for (const timer of leaving.values()) timer.cancel();
			stopFelix();
		},
	};
};
