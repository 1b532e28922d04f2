import type { Logger } from '../../src/logging.ts';
import { isLinkLocal } from '../../src/net/ip.ts';
import type { Timer, Timers } from '../timers.ts';
import { encodeAdvertisement, encodeSolicitation, readDiscovery } from './advertisement.ts';

/**
 * Finds the router at the other end of links that are known by name alone, as it finds us: by router advertisements (RFC
 * 4861), what FRR and others do for "neighbor eth0 interface". We ask for theirs, and send our own, with which nobody
 * takes us for a default router (lifetime 0). Bounded: a packet a link every few seconds, whatever comes in.
 */

/** What it needs of the host. Nothing throws. */
export type DiscoverySocket = {
	/** To a multicast group of routers or hosts on the link. In words why it could not be sent; '' when it was. */
	readonly send: (link: string, group: 'allNodes' | 'allRouters', bytes: Uint8Array) => string;
	/** The next message from a link of `join`, with hop limit 255: from the link itself. Undefined: none now. */
	readonly receive: () => { readonly link: string; readonly source: string; readonly bytes: Uint8Array } | undefined;
	/** Solicitations are sent to a group that must be joined; again when the link has come anew. */
	readonly join: (link: string) => void;
	readonly close: () => void;
};

export type DiscoveryPorts = {
	readonly timers: Timers;
	readonly log: Logger;
	readonly open: () =>
		| { readonly ok: true; readonly socket: DiscoverySocket }
		| { readonly ok: false; readonly error: string };
	/** A router was heard; every time. */
	readonly heard: (link: string, address: string) => void;
};

export type RouterDiscovery = {
	/** Replaces the links looked at. */
	readonly follow: (links: ReadonlySet<string>) => void;
	/** Why nothing can be found on a link; '' when it can. */
	readonly problem: (link: string) => string;
	readonly stop: () => void;
};

/** FRR's own interval where it does the same. */
const INTERVAL_MS = 10_000;
/** At first, since both ends wait for it. */
const FIRST_MS = 1_000;
const FIRST_TIMES = 4;
/** RFC 4861 §10, MIN_DELAY_BETWEEN_RAS: answers come no faster. */
const ANSWER_MS = 3_000;
/** The socket is looked at so often: Node has no words for waiting on a raw one. */
const LOOK_MS = 200;
const REOPEN_MS = 5_000;
/** Messages read at a time; more than that is somebody's flood and waits, or is dropped by the kernel. */
const READ_MAX = 64;

type Followed = { sent: number; nextAt: number; lastSentAt: number; problem: string };

export const createRouterDiscovery = ({ timers, log, open, heard }: DiscoveryPorts): RouterDiscovery => {
	const links = new Map<string, Followed>();
	let socket: DiscoverySocket | undefined;
	let openProblem = '';
	let reopenAt = 0;
	let timer: Timer | undefined;

	const advertise = (link: string, followed: Followed, now: number): void => {
		socket?.join(link);
		const problem = socket?.send(link, 'allNodes', encodeAdvertisement()) ?? '';
		// Until it is known who is there we also ask.
		if (problem === '' && followed.sent < FIRST_TIMES) socket?.send(link, 'allRouters', encodeSolicitation());
		if (problem !== '' && problem !== followed.problem)
			log.warn({ link }, `cannot look for a router on ${link}: ${problem}`);
		followed.problem = problem;
		followed.sent = problem === '' ? followed.sent + 1 : 0;
		followed.lastSentAt = now;
		followed.nextAt = now + (followed.sent < FIRST_TIMES ? FIRST_MS : INTERVAL_MS * (1 - timers.random() / 4));
	};

	const read = (now: number): void => {
		for (let i = 0; i < READ_MAX; i++) {
			const message = socket?.receive();
			if (message === undefined) return;
			const followed = links.get(message.link);
			if (followed === undefined) continue;
			const kind = readDiscovery(message.bytes);
			if (kind === 'solicitation') {
				followed.nextAt = Math.min(followed.nextAt, Math.max(now, followed.lastSentAt + ANSWER_MS));
			} else if (kind === 'advertisement' && isLinkLocal(message.source)) heard(message.link, message.source);
		}
	};

	const ready = (now: number): boolean => {
		if (socket !== undefined) return true;
		if (now < reopenAt) return false;
		reopenAt = now + REOPEN_MS;
		const opened = open();
		if (opened.ok) socket = opened.socket;
		const problem = opened.ok ? '' : opened.error;
		if (problem !== '' && problem !== openProblem) log.error({}, `cannot look for routers on links: ${problem}`);
		openProblem = problem;
		return opened.ok;
	};

	const look = (): void => {
		const now = timers.now();
		if (ready(now)) {
			read(now);
			for (const [link, followed] of links) if (followed.nextAt <= now) advertise(link, followed, now);
		}
		timer = timers.start(LOOK_MS, look);
	};

	const stop = (): void => {
		timer?.cancel();
		timer = undefined;
		socket?.close();
		socket = undefined;
		links.clear();
	};

	return {
		follow: (wanted) => {
			for (const link of links.keys()) if (!wanted.has(link)) links.delete(link);
			for (const link of wanted) {
				if (!links.has(link)) {
					links.set(link, { sent: 0, nextAt: timers.now(), lastSentAt: Number.NEGATIVE_INFINITY, problem: '' });
				}
			}
			if (links.size === 0) stop();
			else if (timer === undefined) look();
		},
		problem: (link) => openProblem || (links.get(link)?.problem ?? ''),
		stop,
	};
};
