import {
	readAddress,
	readNeighbour,
	writeAddress,
	writeAddressDump,
	writeNeighbour,
	writeNeighbourDump,
} from './address-codec.ts';
import type { InterfaceAddress, KernelError, Neighbour, RoutingRule } from './kernel.ts';
import type { LinkTable } from './link-table.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkSocket, OnMessage } from './netlink-socket.ts';
import type { NetlinkWriter } from './netlink-writer.ts';
import type { Change, Outcome, Resource } from './reconciler.ts';
import { readRule, sameRule, writeRule, writeRuleDump } from './rule-codec.ts';

/** Neighbours, addresses and rules as resources of the reconciler. */

const collect = async <V>(
	socket: NetlinkSocket,
	encode: (writer: NetlinkWriter) => void,
	what: string,
	keyOf: (value: V) => string,
	read: (...message: Parameters<OnMessage>) => V | undefined,
): Promise<ReadonlyMap<string, V> | KernelError> => {
	const values = new Map<string, V>();
	const begin = (): OnMessage => {
		values.clear();
		return (...message) => {
			const value = read(...message);
			if (value !== undefined) values.set(keyOf(value), value);
		};
	};
	return (await socket.dump(encode, begin, what)) ?? values;
};

type Step<V> = { readonly add: boolean; readonly replace: boolean; readonly value: V; readonly at: number };

/** Errors of a deletion that say that the thing is gone, with or without its link. */
const gone = new Set(['ESRCH', 'ENOENT', 'ENODEV', 'EADDRNOTAVAIL']);

/**
 * Carries changes out in one batch. `inPlace`: the kernel can overwrite; else the new one is added beside the old,
 * which goes after it.
 */
const writeAll = async <V>(
	socket: NetlinkSocket,
	changes: readonly Change<V>[],
	inPlace: boolean,
	encode: (writer: NetlinkWriter, step: Step<V>) => string | undefined,
	describe: (value: V) => string,
): Promise<readonly Outcome[]> => {
	const steps: Step<V>[] = [];
	changes.forEach(({ wanted, actual }, at) => {
		if (wanted !== undefined) steps.push({ add: true, replace: inPlace, value: wanted, at });
		if (actual !== undefined && (wanted === undefined || !inPlace)) {
			steps.push({ add: false, replace: false, value: actual, at });
		}
	});
	const results = await socket.request(
		steps,
		encode,
		(step) => `${step.add ? 'add' : 'delete'} ${describe(step.value)}`,
	);
	const outcomes: Outcome[] = new Array(changes.length);
	steps.forEach((step, i) => {
		const error = results[i];
		if (error === undefined) return;
		const wanted = changes[step.at]?.wanted !== undefined;
		if (!step.add && gone.has(error.code)) outcomes[step.at] ??= wanted ? undefined : 'untouched';
		else if (step.add && error.code === 'EEXIST') outcomes[step.at] ??= 'untouched';
		else outcomes[step.at] = error;
	});
	return outcomes;
};

export const neighbourKey = (value: Neighbour): string => `${value.dev} ${value.address}`;

/** Permanent neighbours on links named `devPrefix…`; ours alone, so a learnt entry in the way is overwritten. */
export const neighbourResource = (socket: NetlinkSocket, links: LinkTable, devPrefix: string): Resource<Neighbour> => ({
	name: `neighbours on ${devPrefix}*`,
	keyOf: neighbourKey,
	equal: (a, b) => a.lladdr === b.lladdr,
	tagsOf: (value, visit) => visit(value.dev),
	read: () =>
		collect(socket, writeNeighbourDump, 'list neighbours', neighbourKey, (_type, data, start, end) => {
			const entry = readNeighbour(data, start, end, links.nameOf);
			return entry?.permanent && entry.neighbour.dev.startsWith(devPrefix) ? entry.neighbour : undefined;
		}),
	write: (changes) => {
		links.renew(new Set(changes.flatMap(({ wanted }) => wanted?.dev ?? [])));
		return writeAll(
			socket,
			changes,
			true,
			(writer, { add, value }) =>
				writeNeighbour(
					writer,
					add ? nl.RTM_NEWNEIGH : nl.RTM_DELNEIGH,
					add ? nl.NLM_F_CREATE | nl.NLM_F_REPLACE : 0,
					value,
					links.indexOf,
				),
			(value) => `neighbour ${value.address} dev ${value.dev}`,
		);
	},
});

export const addressKey = (value: InterfaceAddress): string => `${value.dev} ${value.address}/${value.length}`;

export const dumpAddresses = (
	socket: NetlinkSocket,
	links: LinkTable,
): Promise<ReadonlyMap<string, InterfaceAddress> | KernelError> =>
	collect(socket, writeAddressDump, 'list addresses', addressKey, (_type, data, start, end) =>
		readAddress(data, start, end, links.nameOf),
	);

export const addressResource = (socket: NetlinkSocket, links: LinkTable, dev: string): Resource<InterfaceAddress> => ({
	name: `addresses of ${dev}`,
	keyOf: addressKey,
	// The kernel derives an IPv6 scope from the address and cannot change an IPv4 one in place.
	equal: () => true,
	onlyWanted: true,
	read: async () => {
		const all = await dumpAddresses(socket, links);
		return all instanceof Map
			? new Map([...(all as ReadonlyMap<string, InterfaceAddress>)].filter(([, value]) => value.dev === dev))
			: all;
	},
	write: (changes) => {
		links.renew([dev]);
		return writeAll(
			socket,
			changes,
			true,
			(writer, { add, value }) => {
				if (value.dev !== dev) return `this is for addresses of ${dev}`;
				const flags = add ? nl.NLM_F_CREATE | nl.NLM_F_REPLACE : 0;
				return writeAddress(writer, add ? nl.RTM_NEWADDR : nl.RTM_DELADDR, flags, value, links.indexOf);
			},
			(value) => `address ${value.address}/${value.length} dev ${value.dev}`,
		);
	},
});

export const ruleKey = (rule: RoutingRule): string => `${rule.family} ${rule.priority}`;

export const ruleResource = (socket: NetlinkSocket, protocol: number): Resource<RoutingRule> => ({
	name: `rules of protocol ${protocol}`,
	keyOf: ruleKey,
	equal: sameRule,
	read: () =>
		collect(socket, writeRuleDump, 'list rules', ruleKey, (_type, data, start, end) => {
			const rule = readRule(data, start, end);
			return rule?.protocol === protocol ? rule : undefined;
		}),
	write: (changes) =>
		writeAll(
			socket,
			changes,
			false,
			(writer, { add, value }) =>
				value.protocol === protocol
					? writeRule(writer, add ? nl.RTM_NEWRULE : nl.RTM_DELRULE, add ? nl.NLM_F_CREATE | nl.NLM_F_EXCL : 0, value)
					: `it bears protocol ${value.protocol}, its owner ${protocol}`,
			(value) => `rule ${value.priority} lookup ${value.table}`,
		),
});
