import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { SpeakerConfig } from '../../bird/config.ts';
import {
	addresses,
	changesIn,
	createWire,
	type OurSpeaker,
	ourProtocol,
	prefixes,
	routerPeer,
	speakerConfig,
	until,
	type Wire,
} from './harness.ts';

const meshPeer = (own: 'node' | 'router', other: 'node' | 'router'): SpeakerConfig =>
	speakerConfig(
		routerPeer({
			name: `mesh/${other}`,
			address: addresses[other].ipv4,
			localAddress: addresses[own].ipv4,
			asNumber: 64512,
			exportLearnt: false,
		}),
		{ routerId: addresses[own].ipv4, addresses: addresses[own], originate: prefixes[own] },
	);

describe('two of ours', () => {
	let wire: Wire;
	const speakers = new Map<'node' | 'router', OurSpeaker>();

	beforeEach(async () => {
		wire = await createWire();
		for (const prefix of prefixes.router)
			await wire.ip(wire.router, `route add blackhole ${prefix} proto 173 metric 173`);
	});
	afterEach(async () => {
		await wire.close();
	});

	const start = (side: 'node' | 'router'): void => {
		speakers.set(side, wire.speaker(meshPeer(side, side === 'node' ? 'router' : 'node'), wire[side]));
	};
	const settled = async (): Promise<boolean> => {
		const all = await Promise.all([...speakers.values()].map((speaker) => speaker.status()));
		return all.every(({ converged, sessions: [session] }) => {
			return (
				converged && session?.state === 'Established' && session.received === 2 && !session.gracefulRestart.helping
			);
		});
	};

	it('killed 20 times, either or both, as soon as they have settled: no kernel sees a route change', async () => {
		start('node');
		start('router');
		await until('both know each other', settled);
		await until('routes', async () => (await wire.routes(wire.node, ourProtocol)).length === 2);
		await until('routes', async () => (await wire.routes(wire.router, ourProtocol)).length === 2);
		const monitors = [await wire.monitor(wire.node), await wire.monitor(wire.router)];
		for (let i = 0; i < 20; i++) {
			const victims = ([['node'], ['router'], ['node', 'router']] as const)[i % 3] ?? [];
			const signal = i % 4 === 3 ? 'SIGTERM' : 'SIGKILL';
			await Promise.all(victims.map((side) => speakers.get(side)?.end(signal)));
			for (const side of victims) start(side);
			await until(`settled after kill ${i + 1}`, settled).catch((error: unknown) => {
				assert.fail(`${error}\n${[...speakers].map(([side, speaker]) => `${side}:\n${speaker.log()}`).join('\n')}`);
			});
		}
		assert.deepEqual(monitors.flatMap(changesIn), []);
	});
});
