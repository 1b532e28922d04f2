import type { Family } from '../net/ip.ts';
import { familyOf } from '../net/ip.ts';
import type { KernelError, Owner, Route } from './kernel.ts';
import type { LinkTable } from './link-table.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkSocket } from './netlink-socket.ts';
import type { NetlinkWriter } from './netlink-writer.ts';
import type { Change, Outcome, Resource } from './reconciler.ts';
import {
	describeRoute,
	readRoute,
	routeProtocol,
	sameRoute,
	writeRoute,
	writeRouteDeletion,
	writeRouteDump,
} from './route-codec.ts';

/**
 * Routes of one owner as a resource of the reconciler. The kernel keys routes by prefix and metric, not by protocol,
 * so an add says EXCL, a change replaces (without CREATE) only what was read as ours, a deletion names the protocol.
 */

/** Every route of the main table of `family` that passes `protocol` (0: all), given to `onRoute`. */
export const dumpRoutes = (
	socket: NetlinkSocket,
	links: LinkTable,
	family: Family,
	protocol: number,
	begin: () => (route: Route) => void,
): Promise<KernelError | undefined> =>
	socket.dump(
		(writer) => writeRouteDump(writer, family, protocol),
		() => {
			const onRoute = begin();
			return (type, data, start, end) => {
				if (type !== nl.RTM_NEWROUTE || (protocol !== 0 && routeProtocol(data, start) !== protocol)) return;
				const route = readRoute(data, start, end, links.nameOf);
				if (route !== undefined) onRoute(route);
			};
		},
		`list IPv${family} routes`,
	);

/** Routes keyed by prefix. IPv6 may hold several of one prefix and metric that are not siblings: their hops are joined. */
const put = (routes: Map<string, Route>, route: Route): void => {
	const known = routes.get(route.dst);
	if (known === undefined) routes.set(route.dst, route);
	else routes.set(route.dst, { ...route, nextHops: [...known.nextHops, ...route.nextHops] });
};

/** Tag of routes by a gateway alone: which device the kernel chose is not known until the next read. */
export const anyDevice = '';

type Mode = 'add' | 'replace' | 'delete';
type Task = { readonly mode: Mode; readonly route: Route; readonly at: number };

const describe = ({ mode, route }: Task): string => `${mode} route ${describeRoute(route)}`;

const gone = new Set(['ESRCH', 'ENOENT', 'ENODEV']);

export const routeResource = (socket: NetlinkSocket, links: LinkTable, owner: Owner): Resource<Route> => {
	const encode = (writer: NetlinkWriter, { mode, route }: Task): string | undefined => {
		if (mode === 'delete') return writeRouteDeletion(writer, route);
		if (route.protocol !== owner.protocol || route.metric !== owner.metric) {
			return `it bears protocol ${route.protocol} and metric ${route.metric}, its owner ${owner.protocol} and ${owner.metric}`;
		}
		const flags = mode === 'add' ? nl.NLM_F_CREATE | nl.NLM_F_EXCL : nl.NLM_F_REPLACE;
		return writeRoute(writer, route, flags, links.indexOf);
	};

	/** Who has the prefixes that adds found taken, by prefix; one dump a family. */
	const holders = async (tasks: readonly Task[]): Promise<ReadonlyMap<string, Route>> => {
		const wanted = new Set(tasks.map((task) => task.route.dst));
		const found = new Map<string, Route>();
		for (const family of new Set(tasks.map((task) => familyOf(task.route.dst)))) {
			await dumpRoutes(socket, links, family, 0, () => (route) => {
				if (route.metric === owner.metric && wanted.has(route.dst)) found.set(route.dst, route);
			});
		}
		return found;
	};

	const attempt = async (tasks: readonly Task[], outcomes: Outcome[], retry: boolean): Promise<void> => {
		const errors = await socket.request(tasks, encode, describe);
		const again: Task[] = [];
		const taken: Task[] = [];
		const devices: Task[] = [];
		for (let i = 0; i < tasks.length; i++) {
			const task = tasks[i] as Task;
			const error = errors[i];
			outcomes[task.at] = error;
			if (error === undefined) continue;
			if (task.mode === 'delete') {
				if (gone.has(error.code)) outcomes[task.at] = 'untouched';
			} else if (error.code === 'EEXIST' && task.mode === 'add') taken.push(task);
			else if (!retry) continue;
			else if (task.mode === 'replace' && gone.has(error.code) && error.code !== 'ENODEV') {
				again.push({ ...task, mode: 'add' });
			} else devices.push(task);
		}
		if (taken.length > 0) {
			const found = await holders(taken);
			for (const task of taken) {
				const holder = found.get(task.route.dst);
				if (holder?.protocol === owner.protocol) {
					if (sameRoute(task.route, holder)) outcomes[task.at] = 'untouched';
					else if (retry) again.push({ ...task, mode: 'replace' });
					continue;
				}
				const error = outcomes[task.at] as KernelError;
				const who = holder === undefined ? 'a route of another type' : describeRoute(holder);
				const message = `Could not ${describe(task)}: EEXIST (the prefix and metric are held by ${who}, which is not ours and is left alone). Remove that route, or its owner's claim to the metric.`;
				outcomes[task.at] = { ...error, message };
			}
		}
		// An interface made anew under its old name has another index than the one remembered.
		const names = new Set(devices.flatMap(({ route }) => route.nextHops.flatMap((hop) => hop.dev ?? [])));
		if (links.renew(names)) again.push(...devices);
		if (again.length > 0) await attempt(again, outcomes, false);
	};

	return {
		name: `routes of protocol ${owner.protocol}`,
		keyOf: (route) => route.dst,
		equal: sameRoute,
		tagsOf: (route, visit) => {
			for (const hop of route.nextHops) visit(hop.dev ?? anyDevice);
			if (route.prefSrc !== undefined) visit(route.prefSrc);
		},
		// Gateways are reached by on-link routes, so these go first.
		first: (route) => route.nextHops.every((hop) => hop.via === undefined),
		read: async () => {
			const routes = new Map<string, Route>();
			for (const family of [4, 6] as const) {
				const some = new Map<string, Route>();
				const begin = (): ((route: Route) => void) => {
					some.clear();
					return (route) => {
						if (route.metric === owner.metric) put(some, route);
					};
				};
				const error = await dumpRoutes(socket, links, family, owner.protocol, begin);
				if (error !== undefined) return error;
				for (const [dst, route] of some) routes.set(dst, route);
			}
			return routes;
		},
		write: async (changes: readonly Change<Route>[]) => {
			const outcomes: Outcome[] = new Array(changes.length);
			const tasks = changes.map(({ wanted, actual }, at): Task => {
				if (wanted === undefined) return { mode: 'delete', route: actual as Route, at };
				return { mode: actual === undefined ? 'add' : 'replace', route: wanted, at };
			});
			await attempt(tasks, outcomes, true);
			return outcomes;
		},
	};
};
