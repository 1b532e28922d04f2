import type { LoggedPacket, Nflog, NflogOptions, NflogResult } from '../src/kernel/nflog.ts';
import type { Logger } from '../src/logging.ts';
import type { PolicyCalc } from './calc/types.ts';
import { type Packet, verdict } from './calc/verdict.ts';
import { reasonText } from './explain.ts';
import { chain, groupChain, logGroup } from './render/index.ts';

/**
 * What the rules decided on new connections, with names and reasons put to it as it is told. The last thousand are
 * kept for who asks later. The kernel tells of ten a second and rule at most; what it told and we did not get is counted.
 */

export type Flow = {
	/** ISO 8601 */
	readonly time: string;
	readonly action: 'allowed' | 'denied';
	readonly source: FlowEnd;
	readonly destination: FlowEnd;
	/** `TCP`, `UDP`, `SCTP`, `ICMP`, else the number. */
	readonly protocol: string;
	readonly port?: number;
	readonly reason: string;
};

export type FlowEnd = { readonly address: string; readonly port?: number; readonly pod?: string };

export type FlowsDeps = {
	readonly calc: Pick<PolicyCalc, 'state' | 'podAt'>;
	readonly isNode: (address: string) => boolean;
	readonly open: (options: NflogOptions) => NflogResult;
	readonly later: (milliseconds: number, action: () => void) => void;
	readonly log: Logger;
};

export type Flows = {
	/** Starts to listen; whether the kernel can tell at all, so that rules may ask it to. */
	readonly start: () => boolean;
	/** Oldest first. */
	readonly kept: () => readonly Flow[];
	readonly lost: () => number;
	/** Why nothing is heard, or ''. */
	readonly problem: () => string;
	/** Calls back with each flow, and with each loss. */
	readonly follow: (onFlow: (flow: Flow) => void, onLost: (count: number) => void) => () => void;
	readonly close: () => void;
};

const keptFlows = 1000;
const busyRetry = 5000;
const names: Readonly<Record<number, Packet['protocol']>> = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 58: 'ICMP', 132: 'SCTP' };

export const createFlows = ({ calc, isNode, open, later, log }: FlowsDeps): Flows => {
	let ring: Flow[] = [];
	let lost = 0;
	let problem = 'felix is starting';
	let nflog: Nflog | undefined;
	let closed = false;
	const followers = new Set<{ readonly onFlow: (flow: Flow) => void; readonly onLost: (count: number) => void }>();

	const end = (address: string, port: number | undefined): FlowEnd => {
		const pod = calc.podAt(address)?.key;
		return { address, ...(port !== undefined && { port }), ...(pod !== undefined && { pod }) };
	};

	const reasonOf = (logged: LoggedPacket): string => {
		const state = calc.state(logged.family);
		if (logged.prefix === chain.egress || logged.prefix === chain.ingress) {
			return 'felix does not know this pod (yet): everything is dropped';
		}
		const group = state.groups.find(({ direction, id }) => groupChain(direction, id) === logged.prefix);
		if (group !== undefined) return `${group.direction} isolated by ${group.policies.join(', ')}; no rule allows`;
		if (logged.prefix !== chain.accept) return 'isolated by policies that have changed since';
		const { protocol, source, destination, destinationPort } = logged;
		const { reasons } = verdict(
			{
				source,
				destination,
				protocol: names[protocol] ?? 'ICMP',
				...(destinationPort !== undefined && { destinationPort }),
				...(isNode(source) && { fromNode: true }),
			},
			state,
		);
		const said = reasons.map(
			(reason) => `${reason.direction} ${reasonText(reason).replace('isolates it', 'isolates')}`,
		);
		return said.join('; ') || 'no policy is asked';
	};

	const onPacket = (logged: LoggedPacket): void => {
		const flow: Flow = {
			time: new Date(logged.time).toISOString(),
			action: logged.prefix === chain.accept ? 'allowed' : 'denied',
			source: end(logged.source, logged.sourcePort),
			destination: end(logged.destination, logged.destinationPort),
			protocol: names[logged.protocol] ?? String(logged.protocol),
			...(logged.destinationPort !== undefined && { port: logged.destinationPort }),
			reason: reasonOf(logged),
		};
		ring.push(flow);
		if (ring.length > 2 * keptFlows) ring = ring.slice(-keptFlows);
		for (const { onFlow } of followers) onFlow(flow);
	};
	const onLoss = (count: number): void => {
		lost += count;
		for (const { onLost } of followers) onLost(count);
	};

	const listen = (): boolean => {
		if (closed) return false;
		const result = open({ group: logGroup, onPacket, onLost: onLoss });
		if (result.ok) {
			nflog = result.nflog;
			problem = '';
			return true;
		}
		if (problem !== result.reason) log.warn({}, `flows cannot be told: ${result.reason}`);
		problem = result.reason;
		if (result.busy) later(busyRetry, listen);
		return result.busy;
	};

	return {
		start: listen,
		kept: () => {
			nflog?.poll();
			return ring.slice(-keptFlows);
		},
		lost: () => lost,
		problem: () => problem,
		follow: (onFlow, onLost) => {
			const follower = { onFlow, onLost };
			followers.add(follower);
			return () => followers.delete(follower);
		},
		close: () => {
			closed = true;
			nflog?.close();
		},
	};
};
