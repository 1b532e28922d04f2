import type { KernelError, Link } from './kernel.ts';
import { readLink, writeLinkDump, writeLinkGet } from './link-codec.ts';
import { RTM_NEWLINK } from './netlink-constants.ts';
import type { NetlinkSocket } from './netlink-socket.ts';

/**
 * Interface names to indexes and back, kept by notifications, and by asking the kernel for what is not known yet
 * (a link made a moment ago, whose notification is still in the queue).
 */
export type LinkTable = {
	readonly indexOf: (name: string) => number | undefined;
	/** Always a name: `if7` for an interface that went away while its routes were read. */
	readonly nameOf: (index: number) => string;
	readonly learn: (link: Link, removed: boolean) => void;
	/** Asks the kernel anew for these names; true when one of them leads to another interface than before. */
	readonly renew: (names: Iterable<string>) => boolean;
	/** Forgets everything, for kernels without notifications. */
	readonly clear: () => void;
	readonly list: () => Promise<readonly Link[] | KernelError>;
};

export const createLinkTable = (socket: NetlinkSocket): LinkTable => {
	const byName = new Map<string, number>();
	const byIndex = new Map<number, string>();

	const put = (link: Link): void => {
		const before = byIndex.get(link.index);
		if (before !== undefined && before !== link.name && byName.get(before) === link.index) byName.delete(before);
		byIndex.set(link.index, link.name);
		byName.set(link.name, link.index);
	};
	const ask = (which: number | string): Link | undefined => {
		let link: Link | undefined;
		socket.get(
			(writer) => writeLinkGet(writer, which),
			(_type, data, start, end) => {
				link = readLink(data, start, end);
			},
			`read link ${which}`,
		);
		if (link !== undefined) put(link);
		return link;
	};

	return {
		indexOf: (name) => byName.get(name) ?? ask(name)?.index,
		nameOf: (index) => byIndex.get(index) ?? ask(index)?.name ?? `if${index}`,
		learn: (link, removed) => {
			if (!removed) {
				put(link);
				return;
			}
			byIndex.delete(link.index);
			if (byName.get(link.name) === link.index) byName.delete(link.name);
		},
		renew: (names) => {
			let changed = false;
			for (const name of names) {
				const before = byName.get(name);
				byName.delete(name);
				const now = ask(name)?.index;
				if (now !== before && now !== undefined) changed = true;
			}
			return changed;
		},
		clear: () => {
			byName.clear();
			byIndex.clear();
		},
		list: async () => {
			let links: Link[] = [];
			const error = await socket.dump(
				writeLinkDump,
				() => {
					links = [];
					return (type, data, start, end) => {
						const link = type === RTM_NEWLINK ? readLink(data, start, end) : undefined;
						if (link !== undefined) links.push(link);
					};
				},
				'list links',
			);
			if (error !== undefined) return error;
			for (const link of links) put(link);
			return links;
		},
	};
};
