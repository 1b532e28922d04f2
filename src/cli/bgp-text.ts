import type { PeerSessionStatus, RouteLine } from '../../bird/index.ts';
import { table } from '../lab/table.ts';
import { parseCidr } from '../net/ip.ts';

/** What `manx bgp` says of sessions, as text. Pure. */

const ago = (seconds: number): string => {
	const [days, hours, minutes] = [
		Math.floor(seconds / 86_400),
		Math.floor(seconds / 3600) % 24,
		Math.floor(seconds / 60) % 60,
	];
	if (days > 0) return `${days}d ${hours}h`;
	return hours > 0 ? `${hours}h ${minutes}m` : minutes > 0 ? `${minutes}m ${seconds % 60}s` : `${seconds}s`;
};
const since = (time: string, now: number): string => ago(Math.max(0, Math.floor((now - Date.parse(time)) / 1000)));

const addressOf = ({ address, interface: link }: PeerSessionStatus): string =>
	link === undefined ? address : address === '' ? `(${link})` : `${address}%${link}`;
const asOf = ({ asNumber }: PeerSessionStatus): string => (asNumber === 0 ? 'any' : String(asNumber));
const stateOf = ({ held, state }: PeerSessionStatus): string => (held === undefined ? state : 'Held');

/** Why it is not up, with why it went down where later attempts have failed for other reasons. */
const whyDown = ({ held, lastError, lastEnd }: PeerSessionStatus): string =>
	held ?? (lastEnd && lastEnd !== lastError ? `${lastError}; before: ${lastEnd}` : lastError);

export const peersText = (sessions: readonly PeerSessionStatus[], now: number): string => {
	if (sessions.length === 0) return 'There are no peers.';
	const watched = sessions.some(({ bfd }) => bfd !== undefined);
	const rows = sessions.map((one) => [
		one.name,
		addressOf(one),
		asOf(one),
		stateOf(one),
		since(one.since, now),
		...(watched ? [one.bfd?.state ?? ''] : []),
		String(one.received),
		String(one.advertised),
		one.state !== 'Established' ? whyDown(one) : one.gracefulRestart.helping ? 'stale routes kept' : '',
	]);
	return table(['PEER', 'ADDRESS', 'AS', 'STATE', 'SINCE', ...(watched ? ['BFD'] : []), 'RECEIVED', 'TOLD', ''], rows);
};

const familyText: Readonly<Record<string, string>> = { '1/1': 'IPv4', '2/1': 'IPv6' };

/** One session in all its detail. */
export const peerText = (one: PeerSessionStatus, now: number): string => {
	const { received, receivedByFamily, gracefulRestart: restart, bfd } = one;
	const up = one.state === 'Established';
	const lines: [string, string][] = [
		['peer', `${one.name}, ${addressOf(one)}, AS ${asOf(one)}`],
		['session', `${stateOf(one)} for ${since(one.since, now)}`],
		...(up || whyDown(one) === '' ? [] : [['why', whyDown(one)] as [string, string]]),
		['families', one.families.map((key) => familyText[key] ?? key).join(', ')],
		['hold time', one.holdTime === 0 ? 'none' : `${one.holdTime} s`],
		[
			'routes',
			`${received} received (${receivedByFamily[4]} IPv4, ${receivedByFamily[6]} IPv6), ${one.advertised} told`,
		],
		[
			'graceful restart',
			restart.agreed
				? `agreed, ${restart.peerRestartTime} s${restart.helping ? '; its routes are kept while it is away' : ''}`
				: restart.helping
					? 'its routes are kept while it is away'
					: up
						? 'not agreed'
						: 'unknown',
		],
	];
	if (bfd !== undefined) {
		const pace = `sent every ${bfd.transmitInterval} ms, dead after ${bfd.detectionTime} ms`;
		const why = bfd.state !== 'Up' && bfd.lastError !== '' ? `: ${bfd.lastError}` : '';
		lines.push(['BFD', `${bfd.state} for ${since(bfd.since, now)}, ${pace}${why}`]);
		lines.push(['', `${bfd.sent} packets sent, ${bfd.received} received, ${bfd.refused} refused`]);
	}
	return lines.map(([name, value]) => `${name.padEnd(17)} ${value}`.trimEnd()).join('\n');
};

/** By prefix, IPv4 first. */
export const inOrder = (routes: readonly RouteLine[]): RouteLine[] =>
	routes
		.map((route) => ({ route, cidr: parseCidr(route.prefix) }))
		.sort(({ cidr: a }, { cidr: b }) => {
			if (a === undefined || b === undefined) return 0;
			if (a.family !== b.family) return a.family - b.family;
			return a.value === b.value ? a.length - b.length : a.value < b.value ? -1 : 1;
		})
		.map(({ route }) => route);
