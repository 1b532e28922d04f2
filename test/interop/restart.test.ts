import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { type BirdRouter, startBirdRouter } from './bird-router.ts';
import {
	type Branch,
	createWire,
	type OurSpeaker,
	output,
	type Process,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from './harness.ts';

/**
 * 10,000 prefixes from two BIRDs, each by both of them (ECMP), BIRD being the helper (RFC 4724 §4.2): our speaker is ended, in
 * whatever way, and started again. The kernel's table is counted all the time, and every change of it is seen by `ip monitor`.
 */

const COUNT = 10_000;
const prefixes = Array.from({ length: COUNT }, (_, i) => `10.${50 + (i >> 8)}.${i & 255}.0/24`);
const statics = (list: readonly string[]): string =>
	`protocol static many { ipv4; ${list.map((prefix) => `route ${prefix} blackhole;`).join('\n')} }`;
const ours10 = /^(Deleted )?10\.(4[89]|[5-9]\d)\./;

describe('10,000 routes by two peers', () => {
	let wire: Wire;
	let branch: Branch;
	let birds: readonly BirdRouter[];
	let ours: OurSpeaker;

	const session = (list: readonly string[]) => ({ more: statics(list), channel: 'import none;' });
	const second = (list: readonly string[]) => ({
		...session(list),
		at: branch,
		prefixes: ['198.51.101.0/24', '2001:db8:98::/64'] as const,
	});
	const start = (): OurSpeaker =>
		wire.speaker(
			speakerConfig(routerPeer(), {
				peers: [
					routerPeer({ exportLearnt: false }),
					routerPeer({
						name: 'peer/second',
						address: branch.router.ipv4,
						localAddress: branch.node.ipv4,
						exportLearnt: false,
					}),
				],
			}),
		);
	/** Routes and, of routes with several, next hops. */
	const count = async (): Promise<readonly [routes: number, hops: number]> => {
		const text = await output('ip', ['-n', wire.node, 'route', 'show', 'proto', '174']);
		return [text.match(/^10\.(4[89]|[5-9]\d)\./gm)?.length ?? 0, text.match(/^\s+nexthop /gm)?.length ?? 0];
	};
	const settled = async (routes: number): Promise<void> => {
		await until(
			'all is known and in the kernel',
			async () => {
				const { converged, sessions, fib } = await ours.status();
				const known = sessions.every(({ state, received }) => state === 'Established' && received >= routes);
				return converged && known && fib.converged && fib.programmed === fib.wanted && fib.wanted >= routes;
			},
			120,
		);
	};
	const changes = (monitor: Process): string[] =>
		monitor
			.log()
			.split('\n')
			.filter((line) => ours10.test(line));

	/** The least that was there while `act` ran. */
	const least = async (act: () => Promise<void>): Promise<number> => {
		let running = true;
		let lowest = Number.POSITIVE_INFINITY;
		const counting = (async () => {
			while (running) lowest = Math.min(lowest, (await count())[0]);
		})();
		try {
			await act();
		} finally {
			running = false;
			await counting;
		}
		return lowest;
	};

	beforeEach(async () => {
		wire = await createWire();
		branch = await wire.branch();
		birds = [startBirdRouter(wire, session(prefixes)), startBirdRouter(wire, second(prefixes))];
		ours = start();
		await settled(COUNT);
		await until('every prefix has both next hops', async () => (await count())[1] >= 2 * COUNT);
	});
	afterEach(async () => {
		await wire.close();
	});

	for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
		it(`${signal} and start: not one is missing for a moment, and no change is seen`, {
			timeout: 300_000,
		}, async () => {
			const monitor = await wire.monitor(wire.node);
			const lowest = await least(async () => {
				await ours.end(signal);
				ours = start();
				await settled(COUNT);
			});
			assert.equal(lowest, COUNT);
			assert.deepEqual(changes(monitor).slice(0, 5), []);
			assert.deepEqual(await count(), [COUNT, 2 * COUNT]);
		});
	}

	it('what changed while it was away, and nothing else, changes in the kernel', { timeout: 300_000 }, async () => {
		const [gone, half, ...rest] = prefixes;
		const monitor = await wire.monitor(wire.node);
		await ours.end('SIGKILL');
		await birds[0]?.reconfigure(session([...rest, '10.49.0.0/24']));
		await birds[1]?.reconfigure(second([half as string, ...rest, '10.49.0.0/24']));
		ours = start();
		await settled(COUNT);
		await until('it is as it should be', async () => (await count())[0] === COUNT);
		const touched = new Set(changes(monitor).map((line) => line.replace(/^Deleted /, '').split(' ')[0]));
		assert.deepEqual([...touched].sort(), ['10.49.0.0/24', gone, half].sort());
	});
});
