import { eachAttribute, stringOf } from './attributes.ts';
import type { IngressFilter, KernelError } from './kernel.ts';
import type { LinkTable } from './link-table.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkSocket, OnMessage } from './netlink-socket.ts';
import type { NetlinkWriter } from './netlink-writer.ts';
import type { Outcome, Resource } from './reconciler.ts';

/**
 * A classic BPF program at a link's ingress qdisc (net/sched/cls_bpf.c, direct action): no program to load beforehand, no
 * bpf(2), no more rights than NET_ADMIN; replaced in one go, and gone with the link. One filter a link, of a fixed
 * preference and handle; other filters there are left alone.
 */

const preference = 1;
const handle = 1;

/** `COUNT,CODE JT JF K,…` to struct sock_filter[]; undefined when it is no program. */
export const programBytes = (text: string): Buffer | undefined => {
	const [count, ...instructions] = text.split(',');
	if (instructions.length === 0 || Number(count) !== instructions.length) return undefined;
	const bytes = Buffer.alloc(instructions.length * 8);
	for (const [i, instruction] of instructions.entries()) {
		const [code = -1, jt = -1, jf = -1, k = -1] = instruction.split(' ').map(Number);
		const inRange = code >= 0 && code < 65_536 && jt >= 0 && jt < 256 && jf >= 0 && jf < 256 && k >= 0 && k < 2 ** 32;
		if (!inRange) return undefined;
		bytes.writeUInt16LE(code, i * 8);
		bytes.writeUInt8(jt, i * 8 + 2);
		bytes.writeUInt8(jf, i * 8 + 3);
		bytes.writeUInt32LE(k, i * 8 + 4);
	}
	return bytes;
};

export const programText = (data: Buffer, from: number, to: number): string => {
	const instructions: string[] = [];
	for (let at = from; at + 8 <= to; at += 8) {
		instructions.push(
			`${data.readUInt16LE(at)} ${data.readUInt8(at + 2)} ${data.readUInt8(at + 3)} ${data.readUInt32LE(at + 4)}`,
		);
	}
	return [instructions.length, ...instructions].join(',');
};

/** struct tcmsg. */
const tcmsg = (writer: NetlinkWriter, index: number, ownHandle: number, parent: number, info: number): void => {
	writer.u32(0);
	writer.u32(index);
	writer.u32(ownHandle);
	writer.u32(parent);
	writer.u32(info);
};

const swap16 = (value: number): number => ((value & 0xff) << 8) | (value >>> 8);
const info = ((preference << 16) | swap16(nl.ETH_P_ALL)) >>> 0;

type Step = { readonly what: 'qdisc' | 'filter' | 'removal'; readonly index: number; readonly filter: IngressFilter };

const write = (writer: NetlinkWriter, { what, index, filter }: Step): string | undefined => {
	if (what === 'removal') {
		writer.message(nl.RTM_DELTFILTER, 0);
		tcmsg(writer, index, handle, nl.ingressHandle, info);
		writer.attrString(nl.TCA_KIND, 'bpf');
		return undefined;
	}
	if (what === 'qdisc') {
		// Without EXCL: one that is there is fine.
		writer.message(nl.RTM_NEWQDISC, nl.NLM_F_CREATE);
		tcmsg(writer, index, nl.ingressHandle, nl.TC_H_INGRESS, 0);
		writer.attrString(nl.TCA_KIND, 'ingress');
		return undefined;
	}
	const program = programBytes(filter.program);
	writer.message(nl.RTM_NEWTFILTER, nl.NLM_F_CREATE);
	tcmsg(writer, index, handle, nl.ingressHandle, info);
	writer.attrString(nl.TCA_KIND, 'bpf');
	const options = writer.nest(nl.TCA_OPTIONS);
	const length = Buffer.alloc(2);
	length.writeUInt16LE((program?.length ?? 0) / 8);
	writer.attrU32(nl.TCA_BPF_FLAGS, nl.TCA_BPF_FLAG_ACT_DIRECT);
	writer.attrBytes(nl.TCA_BPF_OPS_LEN, length);
	writer.attrBytes(nl.TCA_BPF_OPS, program ?? length);
	writer.endNest(options);
	return program === undefined ? `"${filter.program}" is no classic BPF program` : undefined;
};

const describe = ({ what, filter }: Step): string =>
	what === 'qdisc'
		? `add an ingress qdisc to ${filter.dev}`
		: `${what === 'removal' ? 'take the' : 'set an'} ingress filter of ${filter.dev}`;

const stepsOf = (index: number, filter: IngressFilter): Step[] => [
	{ what: 'qdisc', index, filter },
	{ what: 'filter', index, filter },
];

/** Sets one at once. */
export const setIngressFilter = (
	socket: NetlinkSocket,
	links: LinkTable,
	filter: IngressFilter,
): KernelError | undefined => {
	links.renew([filter.dev]);
	for (const step of stepsOf(links.indexOf(filter.dev) ?? nl.noDevice, filter)) {
		const error = socket.requestSync(step, write, describe);
		if (error !== undefined) return error;
	}
	return undefined;
};

/** Indexes of the links with an ingress qdisc. */
const readIngresses = async (socket: NetlinkSocket): Promise<readonly number[] | KernelError> => {
	let found: number[] = [];
	const error = await socket.dump(
		(writer) => {
			writer.message(nl.RTM_GETQDISC, nl.NLM_F_DUMP);
			tcmsg(writer, 0, 0, 0, 0);
		},
		() => {
			found = [];
			return (type, data, start) => {
				if (type !== nl.RTM_NEWQDISC || data.readUInt32LE(start + 12) !== nl.TC_H_INGRESS) return;
				found.push(data.readInt32LE(start + 4));
			};
		},
		'list qdiscs',
	);
	return error ?? found;
};

/** The program of our filter on a link. */
const readProgram = (data: Buffer, start: number, end: number): string | undefined => {
	if (data.readUInt32LE(start + 8) !== handle || data.readUInt32LE(start + 16) !== info) return undefined;
	let kind = '';
	let program: string | undefined;
	let direct = false;
	eachAttribute(data, start + 20, end, (type, from, to) => {
		if (type === nl.TCA_KIND) kind = stringOf(data, from, to);
		if (type !== nl.TCA_OPTIONS) return;
		eachAttribute(data, from, to, (inner, innerFrom, innerTo) => {
			if (inner === nl.TCA_BPF_OPS) program = programText(data, innerFrom, innerTo);
			else if (inner === nl.TCA_BPF_FLAGS) direct = (data.readUInt32LE(innerFrom) & nl.TCA_BPF_FLAG_ACT_DIRECT) !== 0;
		});
	});
	return kind === 'bpf' && direct ? program : undefined;
};

/** Filters of links named `devPrefix…`. A link that is gone has none, and to be given one is no error: it is nobody's. */
export const ingressFilterResource = (
	socket: NetlinkSocket,
	links: LinkTable,
	devPrefix: string,
): Resource<IngressFilter> => ({
	name: `ingress filters of ${devPrefix}*`,
	keyOf: ({ dev }) => dev,
	equal: (a, b) => a.program === b.program,
	tagsOf: (value, visit) => visit(value.dev),
	read: async () => {
		const indexes = await readIngresses(socket);
		if (!Array.isArray(indexes)) return indexes as KernelError;
		const filters = new Map<string, IngressFilter>();
		for (const index of indexes as readonly number[]) {
			const dev = links.nameOf(index);
			if (!dev.startsWith(devPrefix)) continue;
			const error = await socket.dump(
				(writer) => {
					writer.message(nl.RTM_GETTFILTER, nl.NLM_F_DUMP);
					tcmsg(writer, index, 0, nl.ingressHandle, 0);
				},
				(): OnMessage => {
					filters.delete(dev);
					return (type, data, start, end) => {
						const program = type === nl.RTM_NEWTFILTER ? readProgram(data, start, end) : undefined;
						if (program !== undefined) filters.set(dev, { dev, program });
					};
				},
				`list filters of ${dev}`,
			);
			if (error !== undefined && error.code !== 'ENODEV') return error;
		}
		return filters;
	},
	write: async (changes) => {
		links.renew(new Set(changes.flatMap(({ wanted }) => wanted?.dev ?? [])));
		const steps: Step[] = [];
		const ends: number[] = [];
		for (const { wanted, actual, key } of changes) {
			const index = links.indexOf(key);
			if (index !== undefined && wanted !== undefined) steps.push(...stepsOf(index, wanted));
			else if (index !== undefined && actual !== undefined) steps.push({ what: 'removal', index, filter: actual });
			ends.push(steps.length);
		}
		const results = await socket.request(steps, write, describe);
		const gone = (code: string): boolean => code === 'ENODEV';
		return ends.map((end, i): Outcome => {
			const from = i === 0 ? 0 : (ends[i - 1] as number);
			if (from === end) return 'untouched';
			const error = results.slice(from, end).find((one) => one !== undefined);
			const removal = changes[i]?.wanted === undefined;
			if (error === undefined || (!gone(error.code) && !(removal && error.code === 'ENOENT'))) return error;
			return 'untouched';
		});
	},
});
