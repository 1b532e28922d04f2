import { addressFromBytes, addressToBytes, canonicalAddress, type Family, familyOf } from '../net/ip.ts';
import { eachAttribute } from './attributes.ts';
import type { Connection, Kernel } from './kernel.ts';
import { AF_INET, AF_INET6, NETLINK_NETFILTER, NLM_F_DUMP } from './netlink-constants.ts';
import { type NetlinkSocket, openNetlinkSocket } from './netlink-socket.ts';

/**
 * Ends tracked connections that somebody no longer wants (net/netfilter/nf_conntrack_netlink.c). A node may have
 * hundreds of thousands, so an entry is told from others by the bytes of its addresses and read whole only then, and
 * judged as it comes: what is kept of the dump are the entries to delete.
 */

const IPCTNL_MSG_CT_GET = 0x101;
const IPCTNL_MSG_CT_DELETE = 0x102;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_TUPLE_MASTER = 14;
const CTA_ZONE = 18;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_SRC = { 4: 1, 6: 3 } as const;
const CTA_IP_DST = { 4: 2, 6: 4 } as const;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;

type Tuple = {
	/** Offsets of the addresses in the datagram; -1: not there. */
	source: number;
	destination: number;
	protocol: number;
	sourcePort: number | undefined;
	destinationPort: number | undefined;
};

const newTuple = (): Tuple => ({
	source: -1,
	destination: -1,
	protocol: 0,
	sourcePort: undefined,
	destinationPort: undefined,
});

const readTuple = (data: Buffer, from: number, to: number, family: Family, into: Tuple): void => {
	into.source = into.destination = -1;
	into.sourcePort = into.destinationPort = undefined;
	eachAttribute(data, from, to, (type, start, end) => {
		if (type === CTA_TUPLE_IP) {
			eachAttribute(data, start, end, (which, at) => {
				if (which === CTA_IP_SRC[family]) into.source = at;
				else if (which === CTA_IP_DST[family]) into.destination = at;
			});
		} else if (type === CTA_TUPLE_PROTO) {
			eachAttribute(data, start, end, (which, at) => {
				if (which === CTA_PROTO_NUM) into.protocol = data[at] as number;
				else if (which === CTA_PROTO_SRC_PORT) into.sourcePort = data.readUInt16BE(at);
				else if (which === CTA_PROTO_DST_PORT) into.destinationPort = data.readUInt16BE(at);
			});
		}
	});
};

export type ConnectionEnder = {
	readonly end: Kernel['endConnections'];
	readonly forget: Kernel['deleteConntrack'];
	readonly close: () => void;
};

export const connectionEnder = (inside: <T>(run: () => T) => T): ConnectionEnder => {
	let socket: NetlinkSocket | undefined;
	const end: Kernel['endConnections'] = async (family, addresses, unwanted) => {
		socket ??= openNetlinkSocket(NETLINK_NETFILTER, inside);
		const size = family === 4 ? 4 : 16;
		const keyOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
		const wanted = new Set<string>();
		for (const address of addresses) {
			const bytes = addressToBytes(address);
			if (bytes?.length === size) wanted.add(keyOf(bytes));
		}
		const original = newTuple();
		const reply = newTuple();
		const master = newTuple();
		let looked = 0;
		let doomed: Buffer[] = [];
		const onMessage = (_type: number, data: Buffer, start: number, stop: number): void => {
			let related = false;
			eachAttribute(data, start + 4, stop, (type, from, to) => {
				if (type === CTA_TUPLE_ORIG) readTuple(data, from, to, family, original);
				else if (type === CTA_TUPLE_REPLY) readTuple(data, from, to, family, reply);
				else if (type === CTA_TUPLE_MASTER) {
					related = true;
					readTuple(data, from, to, family, master);
				}
			});
			const has = (at: number): boolean => at >= 0 && wanted.has(data.toString('latin1', at, at + size));
			if (!has(original.source) && !has(reply.source)) return;
			looked++;
			const [destination, port] = related
				? [master.destination, master.destinationPort]
				: [reply.source, reply.sourcePort];
			const { source, protocol } = related ? master : original;
			if (source < 0 || destination < 0) return;
			const connection: Connection = {
				family,
				protocol,
				source: addressFromBytes(data, family, source),
				destination: addressFromBytes(data, family, destination),
				...(port !== undefined && { destinationPort: port }),
			};
			if (!unwanted(connection)) return;
			const keep: Buffer[] = [];
			eachAttribute(data, start + 4, stop, (type, from, to) => {
				if (type !== CTA_TUPLE_ORIG && type !== CTA_ID && type !== CTA_ZONE) return;
				keep.push(data.subarray(from - 4, from + ((to - from + 3) & ~3)));
			});
			// concat copies: the buffer is the socket's.
			doomed.push(Buffer.concat(keep));
		};
		const number = family === 4 ? AF_INET : AF_INET6;
		const error = await socket.dump(
			(writer) => {
				writer.message(IPCTNL_MSG_CT_GET, NLM_F_DUMP);
				writer.u32(number);
			},
			() => {
				looked = 0;
				doomed = [];
				return onMessage;
			},
			`list IPv${family} connections`,
		);
		const results = await socket.request(
			doomed,
			(writer, attributes) => {
				writer.message(IPCTNL_MSG_CT_DELETE, 0);
				writer.u32(number);
				writer.raw(attributes);
				return undefined;
			},
			() => `delete an IPv${family} connection`,
		);
		// One that ended by itself meanwhile is gone as wanted.
		const failed = results.find((result) => result !== undefined && result.code !== 'ENOENT');
		const ended = results.filter((result) => result === undefined).length;
		const problem = error ?? failed;
		return { looked, ended, ...(problem !== undefined && { error: problem }) };
	};

	// A dump walks the whole table, however few entries a pod has: pods that go while one runs share the next.
	const forgetters = { 4: createForgetter(4, end), 6: createForgetter(6, end) };
	return {
		end,
		forget: async (address) => (canonicalAddress(address) === address ? forgetters[familyOf(address)](address) : 0),
		close: () => socket?.close(),
	};
};

const createForgetter = (family: Family, end: Kernel['endConnections']): ((address: string) => Promise<number>) => {
	let waiting = new Set<string>();
	let next: Promise<number> | undefined;
	let last: Promise<unknown> = Promise.resolve();
	return (address) => {
		waiting.add(address);
		if (next === undefined) {
			next = last.then(async () => {
				const addresses = waiting;
				waiting = new Set();
				next = undefined;
				const { ended, error } = await end(family, addresses, () => true);
				if (error !== undefined) throw new Error(error.message, { cause: error });
				return ended;
			});
			last = next.catch(() => {});
		}
		return next;
	};
};
