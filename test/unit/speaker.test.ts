import assert from 'node:assert/strict';
import { after, afterEach, describe, it } from 'node:test';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { createRib } from '../../bird/rib/rib.ts';
import type { Decision } from '../../bird/rib/types.ts';
import { createSpeaker, type Speaker, type SpeakerFib } from '../../bird/speaker.ts';
import { systemTimers } from '../../bird/timers.ts';
import { tcpTransport } from '../../bird/transport/tcp.ts';
import type { Logger } from '../../src/logging.ts';

/** Two and more speakers in this process over loopback addresses, the kernel played by a map. */

const lines: string[] = [];
const logger = (who: string): Logger => {
	const log = (_fields: object, message: string): void => {
		lines.push(`${who}: ${message}`);
		if (process.env.SHOW) console.log(`${who}: ${message}`);
	};
	return { debug: process.env.SHOW ? log : () => {}, info: log, warn: log, error: log, child: () => logger(who) };
};

const until = async (what: string, condition: () => boolean, milliseconds = 20_000): Promise<void> => {
	const end = Date.now() + milliseconds;
	while (!condition()) {
		if (Date.now() > end) assert.fail(`${what}: not within ${milliseconds} ms\n${lines.slice(-30).join('\n')}`);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
};

type FakeFib = SpeakerFib & {
	readonly routes: Map<string, Decision>;
	sweeps: number;
	hold: (prefixes: string[]) => void;
};

const fakeFib = (held: string[]): FakeFib => {
	let holds = new Set(held);
	let changed = (): void => {};
	const fib: FakeFib = {
		routes: new Map(),
		sweeps: 0,
		hold: (prefixes) => {
			holds = new Set(prefixes);
			changed();
		},
		update: (changes) => {
			for (const [prefix, decision] of changes) {
				if (decision === undefined || decision.best.source.kind === 'local') fib.routes.delete(prefix);
				else fib.routes.set(prefix, decision);
			}
		},
		converged: () => {
			fib.sweeps++;
		},
		watchNextHops: (nextHops, onChange) => {
			for (const nextHop of nextHops) onChange(nextHop, 0);
		},
		felixHolds: (prefix) => holds.has(prefix),
		onFelixChange: (callback) => {
			changed = callback;
			return () => {};
		},
	};
	return fib;
};

let port = 20_000 + (process.pid % 500) * 20;
const running: Speaker[] = [];

const node = (n: number, prefixes: string[], peers: number[], extra: Partial<SpeakerConfig> = {}): SpeakerConfig => ({
	asNumber: 64512,
	routerId: `127.0.1.${n}`,
	listen: [{ address: `127.0.1.${n}`, port }],
	addresses: { ipv4: `192.0.2.${n}`, ipv6: `fd00::${n}` },
	peers: peers.map((peer) => peerOf(n, peer)),
	originate: prefixes,
	maximumPaths: 16,
	...extra,
});
const peerOf = (own: number, peer: number, extra: Partial<PeerConfig> = {}): PeerConfig => ({
	name: `mesh/n${peer}`,
	address: `127.0.1.${peer}`,
	port,
	asNumber: 64512,
	localAddress: `127.0.1.${own}`,
	holdTime: 90,
	restartTime: 120,
	passive: false,
	families: ['1/1', '2/1'],
	exportLearnt: false,
	...extra,
});

type Running = { readonly speaker: Speaker; readonly fib: FakeFib };
const run = (
	config: SpeakerConfig,
	{ held = [...config.originate], restarting = false, idleHold = 0.1 } = {},
): Running => {
	const fib = fakeFib(held);
	const { asNumber, routerId, maximumPaths } = config;
	const speaker = createSpeaker({
		config,
		rib: createRib({ asNumber, maximumPaths, routerId }),
		fib,
		log: logger(routerId),
		timers: systemTimers,
		transport: tcpTransport,
		restarting: () => restarting,
		fsm: { idleHoldTime: { first: idleHold, longest: 1 } },
	});
	running.push(speaker);
	speaker.start();
	return { speaker, fib };
};
const states = ({ speaker }: Running): string[] => speaker.status().sessions.map((s) => s.state);
const established = (...all: Running[]): boolean => all.every((r) => states(r).every((s) => s === 'Established'));

describe('speaker', { concurrency: false }, () => {
	afterEach(async () => {
		for (const speaker of running.splice(0)) await speaker.stop({ graceful: true });
		lines.length = 0;
		port++;
	});
	after(() => setTimeout(() => process.exit(), 3000).unref());

	it('two speakers that dial each other at once agree on one session and exchange both families', async () => {
		const a = run(node(1, ['10.244.1.0/24', 'fd00:1::/64'], [2]));
		const b = run(node(2, ['10.244.2.0/24', 'fd00:2::/64'], [1]));
		await until('routes both ways', () => a.fib.routes.size === 2 && b.fib.routes.size === 2);
		assert.equal(b.fib.routes.get('fd00:1::/64')?.best.attributes.nextHop, 'fd00::1');
		assert.equal(b.fib.routes.get('10.244.1.0/24')?.best.attributes.nextHop, '192.0.2.1');
		await until('both converged', () => a.speaker.status().converged && b.speaker.status().converged);
		assert.ok(established(a, b));
		const [session] = a.speaker.status().sessions;
		assert.equal(session?.received, 2);
		assert.equal(session?.advertised, 2);
		assert.deepEqual(session?.gracefulRestart, { agreed: true, peerRestartTime: 120, helping: false });
	});

	it('fifty pairs started at the same instant never lose both connections', async () => {
		const pairs = Array.from({ length: 50 }, (_, i) => {
			const [m, n] = [10 + 2 * i, 11 + 2 * i];
			return [run(node(m, [`10.${m}.0.0/24`], [n])), run(node(n, [`10.${n}.0.0/24`], [m]))] as const;
		});
		const all = pairs.flat();
		await until('all established', () => established(...all));
		assert.equal(lines.filter((line) => / ended: /.test(line)).length, 0, lines.join('\n'));
	});
});
