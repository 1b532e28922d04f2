import { type Kernel, type Owner, owners } from '../src/kernel/kernel.ts';
import type { Logger } from '../src/logging.ts';
import { createBfd } from './bfd/bfd.ts';
import type { SpeakerConfig } from './config.ts';
import { openDiscoverySocket } from './discovery/icmp-socket.ts';
import { createRouterDiscovery } from './discovery/router-discovery.ts';
import { createFib } from './fib/fib.ts';
import type { Fib, FibStatus } from './fib/types.ts';
import { type ExplainAnswer, explainPolicy, lookAt, type RouteAnswer, type RouteQuery } from './looking-glass.ts';
import { createPeerNames } from './peer-names.ts';
import type { Done } from './peer-session-types.ts';
import { createRib } from './rib/rib.ts';
import type { Rib } from './rib/types.ts';
import { createSpeaker, type Speaker, type SpeakerStatus } from './speaker.ts';
import { systemTimers } from './timers.ts';
import { tcpTransport } from './transport/tcp.ts';

/** A BGP speaker with its RIB and its hold on the kernel: all that src/daemon needs of this folder. */

export type { BfdSessionStatus } from './bfd/types.ts';
export type { PeerConfig, SpeakerConfig } from './config.ts';
export { findFormerRoutes, removeFormerRoutes } from './fib/former-routes.ts';
export type { FibStatus } from './fib/types.ts';
export type { ExplainAnswer, PolicyLine, RouteAnswer, RouteLine, RouteQuery } from './looking-glass.ts';
export type { Done, PeerSessionStatus } from './peer-session-types.ts';
export type { SpeakerStatus } from './speaker.ts';

export type BirdStatus = SpeakerStatus & { readonly fib: FibStatus };

export type Bird = {
	/** Reads the kernel, then listens and dials. Rejects when the kernel cannot be read. */
	readonly start: () => Promise<void>;
	/** Touches only what differs. A new AS number or router ID starts all sessions anew, by graceful restart. */
	readonly update: (config: SpeakerConfig) => Promise<void>;
	readonly status: () => BirdStatus;
	/** Prefixes with a path, by family; looks at all of them. */
	readonly ribSize: () => { readonly 4: number; readonly 6: number };
	/** As Speaker's: by name, address or `*`. */
	readonly clear: (peer: string, message?: string) => Done;
	readonly refresh: (peer: string, direction: 'in' | 'out') => Done;
	readonly routes: (query: RouteQuery) => RouteAnswer;
	/** Which rules decide on a prefix; with a peer's name, of that peer alone. */
	readonly explain: (prefix: string, peer?: string) => ExplainAnswer;
	/** Returns when all that was received so far is in the kernel. */
	readonly flush: () => Promise<void>;
	/** The same, read back from the kernel; what was not there, in words. */
	readonly verify: () => Promise<readonly string[]>;
	/** Graceful (the default): peers and the kernel keep all routes for the next start. */
	readonly stop: (how?: { readonly graceful: boolean }) => Promise<void>;
};

export type BirdOptions = {
	readonly config: SpeakerConfig;
	readonly kernel: Kernel;
	readonly log: Logger;
	/** Routes are in the kernel, so many seconds after the earliest change that they come from. */
	readonly toKernel?: (seconds: number) => void;
};

const prefSrcOf = ({ addresses: { ipv4, ipv6 } }: SpeakerConfig): { 4?: string; 6?: string } => ({
	...(ipv4 && { 4: ipv4 }),
	...(ipv6 && { 6: ipv6 }),
});

const ownerOf = ({ kernelMetrics: { ipv4, ipv6 } = {} }: SpeakerConfig): Owner => ({
	...owners.bird,
	...(ipv4 !== undefined && { metric: ipv4 }),
	metric6: ipv6 ?? owners.bird.metric,
});

/** Of the routers that are reached by one. */
const gatewaysOf = ({ reachable = [] }: SpeakerConfig): ReadonlyMap<string, string> =>
	new Map(reachable.map(({ prefix, via }) => [prefix.slice(0, prefix.indexOf('/')), via]));

/** What RIB and speaker are built upon and cannot change while they run. */
const sameFoundation = (a: SpeakerConfig, b: SpeakerConfig): boolean =>
	a.asNumber === b.asNumber &&
	a.routerId === b.routerId &&
	a.maximumPaths === b.maximumPaths &&
	a.clusterId === b.clusterId &&
	a.kernelMetrics?.ipv4 === b.kernelMetrics?.ipv4 &&
	a.kernelMetrics?.ipv6 === b.kernelMetrics?.ipv6 &&
	a.leaveToFelix === b.leaveToFelix;

export const createBird = ({ config: initial, kernel, log, toKernel }: BirdOptions): Bird => {
	const names = createPeerNames();
	let config = names.take(initial);
	let fib: Fib;
	let speaker: Speaker;
	let rib: Rib;
	let running = false;
	/** Starts, stops and rebuilds follow one another. */
	let last: Promise<void> = Promise.resolve();
	const inTurn = (task: () => Promise<void>): Promise<void> => {
		last = last.catch(() => {}).then(task);
		return last;
	};

	const build = (): void => {
		const { asNumber, routerId, maximumPaths } = config;
		fib = createFib({
			kernel,
			log: log.child({ part: 'fib' }),
			prefSrc: prefSrcOf(config),
			maximumPaths,
			owner: ownerOf(config),
			...(config.leaveToFelix && { leaveToFelix: true }),
			written: (since) => toKernel?.((systemTimers.now() - since) / 1000),
		});
		fib.setIgnoredInterfaces(config.ignoredInterfaces ?? []);
		fib.setGateways(gatewaysOf(config));
		rib = createRib({
			asNumber,
			maximumPaths,
			routerId,
			clusterId: config.clusterId ?? routerId,
			pulse: () => speaker.pulse(),
		});
		speaker = createSpeaker({
			config,
			rib,
			fib,
			log: log.child({ part: 'bgp' }),
			timers: systemTimers,
			transport: tcpTransport,
			restarting: () => fib.found > 0,
			bfd: createBfd({ log: log.child({ part: 'bfd' }) }),
			discover: (heard) => createRouterDiscovery({ timers: systemTimers, log, open: openDiscoverySocket, heard }),
		});
	};
	build();

	const start = async (): Promise<void> => {
		await fib.start();
		speaker.start();
		running = true;
	};

	const flush = async (): Promise<void> => {
		await last.catch(() => {});
		speaker.flush();
		await fib.flush();
	};

	return {
		start: () => inTurn(start),
		update: (next) =>
			inTurn(async () => {
				const before = config;
				const same = sameFoundation(before, next);
				if (!same) names.forget();
				const called = new Map(before.peers.map(({ name }) => [name, names.shown(name)]));
				config = names.take(next);
				for (const { name } of config.peers) {
					const [was, is] = [called.get(name), names.shown(name)];
					if (!same || was === undefined || was === is) continue;
					log.info(
						{ peer: name },
						`${was} is ${is} from now on: the session goes on, in the log under the name ${name}`,
					);
				}
				if (same) {
					fib.setPrefSrc(prefSrcOf(next));
					fib.setIgnoredInterfaces(next.ignoredInterfaces ?? []);
					fib.setGateways(gatewaysOf(next));
					speaker.update(config);
					return;
				}
				const wasRunning = running;
				if (wasRunning) {
					log.info(
						{ asNumber: next.asNumber, routerId: next.routerId },
						'AS number, router ID, maximum paths or metric changed: the speaker starts anew, routes in the kernel stay',
					);
					await speaker.stop({ graceful: true });
				}
				fib.close();
				build();
				if (wasRunning) await start();
			}),
		status: () => {
			const status = speaker.status();
			const sessions = status.sessions.map((session) => ({ ...session, name: names.shown(session.name) }));
			return { ...status, sessions, fib: fib.status() };
		},
		ribSize: () => rib.size(),
		routes: (query) =>
			lookAt(rib, { ...query, ...(query.peer !== undefined && { peer: names.within(query.peer) }) }, names.shown),
		explain: (prefix, peer) => explainPolicy(rib, prefix, peer && names.within(peer), names.shown),
		clear: (peer, message) => speaker.clear(names.within(peer), message),
		refresh: (peer, direction) => speaker.refresh(names.within(peer), direction),
		flush,
		verify: async () => {
			await flush();
			return (await fib.verify()).map((prefix) => `route ${prefix} was not in the kernel as wanted`);
		},
		stop: (how = { graceful: true }) =>
			inTurn(async () => {
				const wasRunning = running;
				running = false;
				await speaker.stop(how);
				if (wasRunning && how.graceful) await fib.flush();
				fib.close();
			}),
	};
};
