import type { Family } from '../net/ip.ts';
import { familyOf } from '../net/ip.ts';
import { type KernelError, metricOf, type Owner, type Route, type RouteBody } from './kernel.ts';
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
	/** Passed over before anything is made of them. */
	except?: number,
): Promise<KernelError | undefined> =>
	socket.dump(
		(writer) => writeRouteDump(writer, family, protocol),
		() => {
			const onRoute = begin();
			return (type, data, start, end) => {
				if (type !== nl.RTM_NEWROUTE) return;
				const whose = routeProtocol(data, start);
				if ((protocol !== 0 && whose !== protocol) || whose === except) return;
				const route = readRoute(data, start, end, links.nameOf);
				if (route !== undefined) onRoute(route);
			};
		},
		`list IPv${family} routes`,
	);

/** Routes keyed by prefix. IPv6 may hold several of one prefix and metric that are not siblings: their hops are joined. */
const put = (routes: Map<string, RouteBody>, route: Route): void => {
	const known = routes.get(route.dst);
	if (known === undefined) routes.set(route.dst, route);
	else routes.set(route.dst, { ...route, nextHops: [...known.nextHops, ...route.nextHops] });
};

/** Tag of routes by a gateway alone: which device the kernel chose is not known until the next read. */
export const anyDevice = '';

/** Reading it back would tell nothing more. */
const saysAll = ({ nextHops }: RouteBody): boolean => nextHops.every((hop) => hop.dev !== undefined);

type Task = Change<RouteBody>;

const modeOf = ({ wanted, actual }: Task): 'add' | 'replace' | 'delete' =>
	wanted === undefined ? 'delete' : actual === undefined ? 'add' : 'replace';
const routeOf = ({ wanted, actual }: Task): RouteBody => (wanted ?? actual) as RouteBody;
const describe = (task: Task): string => `${modeOf(task)} route ${describeRoute(task.key, routeOf(task))}`;

const gone = new Set(['ESRCH', 'ENOENT', 'ENODEV']);

export const routeResource = (socket: NetlinkSocket, links: LinkTable, owner: Owner): Resource<Route, RouteBody> => {
	const encode = (writer: NetlinkWriter, { key, wanted: route, actual }: Task): string | undefined => {
		if (route === undefined) return writeRouteDeletion(writer, key, actual as RouteBody);
		if (route.protocol !== owner.protocol || route.metric !== metricOf(owner, key)) {
			return `it bears protocol ${route.protocol} and metric ${route.metric}, its owner ${owner.protocol} and ${metricOf(owner, key)}`;
		}
		const flags = actual === undefined ? nl.NLM_F_CREATE | nl.NLM_F_EXCL : nl.NLM_F_REPLACE;
		return writeRoute(writer, key, route, flags, links.indexOf);
	};

	/** Who has the prefixes that adds found taken, by prefix; one dump a family. */
	const holders = async (tasks: readonly Task[]): Promise<ReadonlyMap<string, Route>> => {
		const wanted = new Set(tasks.map((task) => task.key));
		const found = new Map<string, Route>();
		for (const family of new Set(tasks.map((task) => familyOf(task.key)))) {
			await dumpRoutes(socket, links, family, 0, () => (route) => {
				if (route.metric === metricOf(owner, route.dst) && wanted.has(route.dst)) found.set(route.dst, route);
			});
		}
		return found;
	};

	const attempt = async (tasks: readonly Task[], retry: boolean): Promise<readonly Outcome[]> => {
		const errors = await socket.request(tasks, encode, describe);
		if (errors.every((error) => error === undefined)) return errors;
		const outcomes: Outcome[] = [...errors];
		const at = new Map<string, number>();
		const again: Task[] = [];
		const taken: Task[] = [];
		const devices: Task[] = [];
		for (let i = 0; i < tasks.length; i++) {
			const task = tasks[i] as Task;
			const error = errors[i];
			if (error === undefined) continue;
			at.set(task.key, i);
			const mode = modeOf(task);
			if (mode === 'delete') {
				if (gone.has(error.code)) outcomes[i] = 'untouched';
			} else if (error.code === 'EEXIST' && mode === 'add') taken.push(task);
			else if (mode === 'replace' && (error.code === 'ENOENT' || error.code === 'ESRCH')) {
				again.push({ ...task, actual: undefined });
			} else devices.push(task);
		}
		if (taken.length > 0) {
			const found = await holders(taken);
			for (const task of taken) {
				const i = at.get(task.key) as number;
				const holder = found.get(task.key);
				if (holder?.protocol === owner.protocol) {
					if (sameRoute(routeOf(task), holder, task.key)) outcomes[i] = 'untouched';
					else again.push({ ...task, actual: holder });
					continue;
				}
				const who = holder === undefined ? 'a route of another type' : describeRoute(holder.dst, holder);
				const message = `Could not ${describe(task)}: EEXIST (the prefix and metric are held by ${who}, which is not ours and is left alone). Remove that route, or its owner's claim to the metric.`;
				outcomes[i] = { ...(errors[i] as KernelError), message };
			}
		}
		if (!retry) return outcomes;
		// An interface made anew under its old name has another index than the one remembered.
		const names = new Set(devices.flatMap((task) => routeOf(task).nextHops.flatMap((hop) => hop.dev ?? [])));
		if (links.renew(names)) again.push(...devices);
		if (again.length > 0) {
			const second = await attempt(again, false);
			again.forEach((task, i) => {
				outcomes[at.get(task.key) as number] = second[i];
			});
		}
		return outcomes;
	};

	return {
		name: `routes of protocol ${owner.protocol} and metric ${owner.metric}`,
		keyOf: (route) => route.dst,
		equal: sameRoute,
		tagsOf: (route, visit) => {
			for (const hop of route.nextHops) visit(hop.dev ?? anyDevice);
			if (route.prefSrc !== undefined) visit(route.prefSrc);
		},
		// Gateways are reached by on-link routes, so these go first.
		first: (route) => route.nextHops.every((hop) => hop.via === undefined),
		read: async (believed) => {
			const routes = new Map<string, RouteBody>();
			for (const family of [4, 6] as const) {
				const some = new Map<string, RouteBody>();
				const begin = (): ((route: Route) => void) => {
					some.clear();
					return (route) => {
						if (route.metric !== metricOf(owner, route.dst)) return;
						const known = believed(route.dst);
						if (known !== undefined && saysAll(known) && sameRoute(known, route, route.dst) && !some.has(route.dst)) {
							some.set(route.dst, known);
						} else put(some, route);
					};
				};
				const error = await dumpRoutes(socket, links, family, owner.protocol, begin);
				if (error !== undefined) return error;
				for (const [dst, route] of some) routes.set(dst, route);
			}
			return routes;
		},
		write: (changes) => attempt(changes, true),
	};
};
