/**
 * Anti-spoofing as a program at the pod's veth: classic BPF (Documentation/networking/filter.rst) that lets pass what
 * bears one of the pod's own addresses as its source, and ARP, and drops the rest: router advertisements, neighbour
 * discovery and other protocols too, which nobody on the node waits for. It runs before conntrack and routing and costs
 * a quarter of a set lookup in the raw table. Pure.
 *
 * Loads are from the MAC header, absolute, and so find headers that lie in fragments of the buffer as well. A packet too
 * short for a load ends the program with 0, passed: it is too short for an IP header, and dropped there
 * (net/ipv4/ip_input.c, net/ipv6/ip6_input.c). A VLAN tag is stripped before, and what it hides is judged the same.
 */
import { addressToBytes, familyOf } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';

const LD_H = 0x28;
const LD_W = 0x20;
const JEQ = 0x15;
const RET = 0x06;

/** SKF_AD_OFF + SKF_AD_PROTOCOL: what the kernel takes the packet for. */
const protocolOf = 0xfffff000;
const etherTypes = { ip: 0x0800, ipv6: 0x86dd, arp: 0x0806 } as const;
/** Offsets of the source addresses, behind 14 bytes of Ethernet. */
const source = { 4: 14 + 12, 6: 14 + 8 } as const;
/** TC_ACT_UNSPEC: on to the filters of others, if there are any. */
const pass = 0xffffffff;
const drop = 2;

type Instruction = readonly [code: number, jt: number, jf: number, k: number];

const wordsOf = (address: string): number[] => {
	const bytes = Buffer.from(addressToBytes(address) ?? []);
	return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32BE(4 * i));
};

const forFamily = (family: 4 | 6, addresses: readonly string[]): Instruction[] => [
	...addresses
		.filter((address) => familyOf(address) === family)
		.flatMap((address) => {
			const words = wordsOf(address);
			// Each pair of load and comparison goes on to the next, or past this address.
			return [
				...words.flatMap((word, i): Instruction[] => [
					[LD_W, 0, 0, source[family] + 4 * i],
					[JEQ, 0, 2 * (words.length - 1 - i) + 1, word],
				]),
				[RET, 0, 0, pass] as const,
			];
		}),
	[RET, 0, 0, drop],
];

/** As src/kernel's IngressFilter has it. For the few addresses a pod has: jumps reach 255 instructions. */
export const sourceProgram = (addresses: readonly string[]): string => {
	const v4 = forFamily(4, addresses);
	const v6 = forFamily(6, addresses);
	const program: Instruction[] = [
		[LD_H, 0, 0, protocolOf],
		[JEQ, 4, 0, etherTypes.ip],
		[JEQ, 3 + v4.length, 0, etherTypes.ipv6],
		[JEQ, 1, 0, etherTypes.arp],
		[RET, 0, 0, drop],
		[RET, 0, 0, pass],
		...v4,
		...v6,
	];
	return [program.length, ...program.map((instruction) => instruction.join(' '))].join(',');
};

/** What is set at a pod's veth. */
export const sourceFilterOf = ({ hostInterface, addresses }: Pick<Attachment, 'hostInterface' | 'addresses'>) => ({
	dev: hostInterface,
	program: sourceProgram(addresses),
});
