import { addressFromBytes } from '../net/ip.ts';

/** Reads what `tcpdump -w` writes on Ethernet (pcap, LINKTYPE_ETHERNET), as far as the lab looks into frames. */

export type Frame = {
	readonly src: string;
	readonly dst: string;
	/** Of the header after the IP header: 1 ICMP, 17 UDP, 58 ICMPv6, 4 IP in IP, ... */
	readonly protocol: number;
	readonly isEchoRequest: boolean;
	/** Ports of UDP, else 0. */
	readonly sourcePort: number;
	readonly destinationPort: number;
};

const fileHeader = 24;
const recordHeader = 16;
const ethernetHeader = 14;

const parseFrame = (bytes: Buffer): Frame | undefined => {
	if (bytes.length < ethernetHeader + 20) return undefined;
	const type = bytes.readUInt16BE(12);
	const family = type === 0x0800 ? 4 : type === 0x86dd ? 6 : undefined;
	if (family === undefined) return undefined;
	const ip = bytes.subarray(ethernetHeader);
	const length = family === 4 ? ((ip[0] as number) & 15) * 4 : 40;
	if (ip.length < length + 4) return undefined;
	const protocol = ip[family === 4 ? 9 : 6] as number;
	const payload = ip.subarray(length);
	return {
		src: addressFromBytes(ip, family, family === 4 ? 12 : 8),
		dst: addressFromBytes(ip, family, family === 4 ? 16 : 24),
		protocol,
		isEchoRequest: (protocol === 1 && payload[0] === 8) || (protocol === 58 && payload[0] === 128),
		sourcePort: protocol === 17 ? payload.readUInt16BE(0) : 0,
		destinationPort: protocol === 17 ? payload.readUInt16BE(2) : 0,
	};
};

/** A reader fed with pieces of the file as they come; it hands on every IP frame that is complete. */
export const createPcapReader = (onFrame: (frame: Frame) => void): ((piece: Buffer) => void) => {
	let rest: Buffer = Buffer.alloc(0);
	let opened = false;
	return (piece) => {
		rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
		if (!opened) {
			if (rest.length < fileHeader) return;
			opened = true;
			rest = rest.subarray(fileHeader);
		}
		while (rest.length >= recordHeader) {
			const length = rest.readUInt32LE(8);
			if (rest.length < recordHeader + length) return;
			const frame = parseFrame(rest.subarray(recordHeader, recordHeader + length));
			if (frame !== undefined) onFrame(frame);
			rest = rest.subarray(recordHeader + length);
		}
	};
};

/** IPIP, 6in4, GRE, ESP, AH, EtherIP, L2TP: a packet inside a packet. */
const tunnelProtocols = new Set([4, 41, 47, 50, 51, 97, 115]);
/** VXLAN (IANA's port and Linux's old default), Geneve, VXLAN-GPE, WireGuard, GRE in UDP. */
const tunnelPorts = new Set([4789, 8472, 6081, 4790, 51820, 4754]);

export const isEncapsulated = (frame: Frame): boolean =>
	tunnelProtocols.has(frame.protocol) || tunnelPorts.has(frame.destinationPort);
