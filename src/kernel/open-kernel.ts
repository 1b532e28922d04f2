import { closeSync, openSync } from 'node:fs';
import type { Logger } from '../logging.ts';
import { writeAddress, writeNeighbour } from './address-codec.ts';
import { connectionEnder } from './connections.ts';
import { createFeeds } from './feeds.ts';
import { setIngressFilter } from './ingress-filter.ts';
import type { Kernel, KernelError, Link, LinkChange, PodLink, Route } from './kernel.ts';
import { kernelError } from './kernel-error.ts';
import { writeLinkChange, writeLinkDeletion, writePodLink } from './link-codec.ts';
import { createLinkTable } from './link-table.ts';
import * as nl from './netlink-constants.ts';
import { openNetlinkSocket } from './netlink-socket.ts';
import type { NetlinkWriter } from './netlink-writer.ts';
import { inNetns } from './netns.ts';
import { describeRoute, writeRoute } from './route-codec.ts';
import { dumpRoutes } from './route-resource.ts';
import { dumpAddresses } from './simple-resources.ts';

export type OpenKernelOptions = {
	readonly log: Logger;
	/** Path of another network namespace, such as a pod's; the one the thread is in when absent. */
	readonly netns?: string;
	/**
	 * false: no notifications, so drift shows at the next resync only; for a namespace that is opened, written and
	 * closed at once. `watch` then throws.
	 */
	readonly watch?: boolean;
	/** Receive buffer for notifications, in bytes. */
	readonly watchBufferBytes?: number;
};

const alreadyGone = new Set(['ENODEV', 'ENOENT']);

const failing = (error: KernelError): never => {
	throw new Error(error.message, { cause: error });
};

/**
 * Opens the kernel of one network namespace. Throws, with what to do, when the namespace cannot be entered or netlink
 * is refused; lists throw likewise when the kernel cannot be read, everything else returns its errors.
 */
export const openKernel = ({ log, netns, watch = true, watchBufferBytes = 16 << 20 }: OpenKernelOptions): Kernel => {
	const descriptor = netns === undefined ? undefined : openSync(netns, 'r');
	const inside = <T>(run: () => T): T => (descriptor === undefined ? run() : inNetns(descriptor, run));
	const opened = () => {
		try {
			return openNetlinkSocket(nl.NETLINK_ROUTE, inside);
		} catch (error) {
			if (descriptor !== undefined) closeSync(descriptor);
			throw error;
		}
	};
	const socket = opened();
	const links = createLinkTable(socket);
	const feeds = createFeeds({ socket, links, inside, log, watch, watchBufferBytes });
	const connections = connectionEnder(inside);
	let closed = false;

	const change = (name: string, how: LinkChange): KernelError | undefined =>
		socket.requestSync(
			name,
			(writer) => writeLinkChange(writer, name, how),
			() => `change link ${name} (${Object.keys(how).join(', ')})`,
		);
	const remove = (name: string): KernelError | undefined => {
		const error = socket.requestSync(name, writeLinkDeletion, () => `delete link ${name}`);
		return error !== undefined && alreadyGone.has(error.code) ? undefined : error;
	};
	const createPodLink = (link: PodLink): KernelError | undefined => {
		const what = `create link ${link.hostName} with its peer ${link.podName} in ${link.podNetns}`;
		let podNetns: number;
		try {
			podNetns = openSync(link.podNetns, 'r');
		} catch (error) {
			return kernelError(
				-((error as NodeJS.ErrnoException).errno ?? -2),
				what,
				'the network namespace cannot be opened',
			);
		}
		try {
			const error = socket.requestSync(
				link,
				(writer) => writePodLink(writer, link, podNetns),
				() => what,
			);
			if (error !== undefined) return error;
			const second = change(link.hostName, { alias: link.alias });
			// Without its alias nobody would know whose it is.
			if (second !== undefined) remove(link.hostName);
			return second;
		} finally {
			closeSync(podNetns);
		}
	};

	return {
		routes: feeds.routes,
		neighbours: feeds.neighbours,
		addresses: feeds.addresses,
		rules: feeds.rules,
		ingressFilters: feeds.ingressFilters,
		listLinks: async () => {
			const list = await links.list();
			return Array.isArray(list) ? (list as readonly Link[]) : failing(list as KernelError);
		},
		listAddresses: async () => {
			if (!feeds.watching()) links.clear();
			const all = await dumpAddresses(socket, links);
			return all instanceof Map ? [...all.values()] : failing(all as KernelError);
		},
		listRoutes: async (except) => {
			if (!feeds.watching()) links.clear();
			const all: Route[] = [];
			for (const family of [4, 6] as const) {
				let some: Route[] = [];
				const begin = (): ((route: Route) => void) => {
					some = [];
					return (route) => some.push(route);
				};
				const error = await dumpRoutes(socket, links, family, 0, begin, except);
				if (error !== undefined) failing(error);
				for (const route of some) all.push(route);
			}
			return all;
		},
		deleteLink: async (name) => {
			const error = await socket.requestSlow(name, writeLinkDeletion, () => `delete link ${name}`);
			return error !== undefined && alreadyGone.has(error.code) ? undefined : error;
		},
		setLink: async (name, how) => change(name, how),
		setIngressFilter: (filter) => {
			const error = setIngressFilter(socket, links, filter);
			if (error === undefined) feeds.noteIngressFilter(filter);
			return error;
		},
		createPodLink: async (link) => createPodLink(link),
		install: async ({ links: changes, addresses, neighbours, routes }) => {
			const { indexOf } = links;
			const added = nl.NLM_F_CREATE | nl.NLM_F_EXCL;
			type Step = { readonly what: string; readonly write: (writer: NetlinkWriter) => string | undefined };
			const steps: Step[] = [
				...changes.map(({ name, change: how }) => ({
					what: `change link ${name} (${Object.keys(how).join(', ')})`,
					write: (writer: NetlinkWriter) => writeLinkChange(writer, name, how),
				})),
				...addresses.map((one) => ({
					what: `add address ${one.address}/${one.length} to ${one.dev}`,
					write: (writer: NetlinkWriter) => writeAddress(writer, nl.RTM_NEWADDR, added, one, indexOf),
				})),
				...neighbours.map((one) => ({
					what: `add neighbour ${one.address} on ${one.dev}`,
					write: (writer: NetlinkWriter) => writeNeighbour(writer, nl.RTM_NEWNEIGH, added, one, indexOf),
				})),
				...routes.map((one) => ({
					what: `add route ${describeRoute(one.dst, one)}`,
					write: (writer: NetlinkWriter) => writeRoute(writer, one.dst, one, added, indexOf),
				})),
			];
			const results = await socket.request(
				steps,
				(writer, step) => step.write(writer),
				(step) => step.what,
			);
			return results.find((error) => error !== undefined);
		},
		deleteConntrack: connections.forget,
		endConnections: connections.end,
		watch: feeds.watch,
		close: () => {
			if (closed) return;
			closed = true;
			feeds.close();
			connections.close();
			socket.close();
			if (descriptor !== undefined) closeSync(descriptor);
		},
	};
};
