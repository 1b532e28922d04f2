/** Packets as bytes, made and read again: each bears a number of its own, which NAT leaves alone. */
import { addressFromBytes, addressToBytes, type Family, familyOf } from '../../src/net/ip.ts';

/** `OTHER`: a protocol that policies have no word for. */
export type Transport = 'TCP' | 'UDP' | 'SCTP' | 'ICMP' | 'OTHER';

export type RawPacket = {
	readonly source: string;
	readonly destination: string;
	readonly protocol: Transport;
	readonly sourcePort: number;
	/** Of ICMP nothing. */
	readonly destinationPort: number;
	/** 32 bits, not 0: TCP sequence number, SCTP initiate tag, else the first four bytes of data. */
	readonly number: number;
	/** TCP only: SYN when absent. */
	readonly flags?: 'SYN' | 'SYN,ACK' | 'ACK';
	/** TCP only. */
	readonly acknowledge?: number;
	/** UDP only: instead of the datagram, the destination's complaint about it, sent back. */
	readonly unreachable?: boolean;
	/** Instead of the packet, what this router on its way says to the source: too big (RFC 1191, RFC 4443 §3.2). */
	readonly tooBigFor?: string;
	/** ICMP only. */
	readonly echoReply?: boolean;
};

/** RFC 3692 §2.1: for experiments. */
const other = 253;
const numbers = {
	4: { TCP: 6, UDP: 17, SCTP: 132, ICMP: 1, OTHER: other },
	6: { TCP: 6, UDP: 17, SCTP: 132, ICMP: 58, OTHER: other },
} as const;
const tcpFlags = { SYN: 2, 'SYN,ACK': 18, ACK: 16 } as const;

const transportOf = (packet: RawPacket, family: Family): Buffer => {
	const { protocol, number } = packet;
	if (protocol === 'ICMP') {
		const data = Buffer.alloc(12);
		const [request, reply] = family === 4 ? [8, 0] : [128, 129];
		data[0] = packet.echoReply ? reply : request;
		data.writeUInt16BE(packet.sourcePort, 4);
		data.writeUInt32BE(number, 8);
		return data;
	}
	const data = Buffer.alloc({ TCP: 20, UDP: 12, SCTP: 32, OTHER: 12 }[protocol]);
	if (protocol === 'OTHER') {
		data.writeUInt32BE(number, 8);
		return data;
	}
	data.writeUInt16BE(packet.sourcePort, 0);
	data.writeUInt16BE(packet.destinationPort, 2);
	if (protocol === 'TCP') {
		data.writeUInt32BE(number, 4);
		data.writeUInt32BE(packet.acknowledge ?? 0, 8);
		data[12] = 5 << 4;
		data[13] = tcpFlags[packet.flags ?? 'SYN'];
		data.writeUInt16BE(65_000, 14);
	} else if (protocol === 'UDP') {
		data.writeUInt16BE(12, 4);
		data.writeUInt32BE(number, 8);
	} else {
		// INIT chunk (RFC 9260 §3.3.2): tag 0 in the header, its own initiate tag, one stream each way.
		data[12] = 1;
		data.writeUInt16BE(20, 14);
		data.writeUInt32BE(number, 16);
		data.writeUInt32BE(65_536, 20);
		data.writeUInt16BE(1, 24);
		data.writeUInt16BE(1, 26);
		data.writeUInt32BE(1, 28);
	}
	return data;
};

const checksum = (data: Buffer): number => {
	let sum = 0;
	for (let i = 0; i < data.length; i += 2) sum += data.readUInt16BE(i);
	while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
	return ~sum & 0xffff;
};

const withHeader = (source: string, destination: string, protocol: Transport, payload: Buffer): Buffer => {
	const family = familyOf(source);
	const addresses = [addressToBytes(source) as Uint8Array, addressToBytes(destination) as Uint8Array];
	if (family === 6) {
		const header = Buffer.alloc(8);
		header[0] = 0x60;
		header.writeUInt16BE(payload.length, 4);
		header[6] = numbers[6][protocol];
		header[7] = 64;
		if (protocol === 'ICMP') {
			// A raw ICMPv6 socket takes nothing else (RFC 3542 §3.1).
			const pseudo = Buffer.concat([...addresses, Buffer.from([0, 0, 0, payload.length, 0, 0, 0, 58])]);
			payload.writeUInt16BE(checksum(Buffer.concat([pseudo, payload])), 2);
		}
		return Buffer.concat([header, ...addresses, payload]);
	}
	// NAT looks at this one whatever it is told (nf_nat_proto.c, nf_nat_icmp_reply_translation).
	if (protocol === 'ICMP') payload.writeUInt16BE(checksum(payload), 2);
	const header = Buffer.concat([Buffer.alloc(12), ...addresses]);
	header[0] = 0x45;
	header.writeUInt16BE(20 + payload.length, 2);
	header[8] = 64;
	header[9] = numbers[4][protocol];
	header.writeUInt16BE(checksum(header), 10);
	return Buffer.concat([header, payload]);
};

/** The IP packet. Transport checksums are left 0 where nothing on the way looks at them. */
export const encodePacket = (packet: RawPacket): Buffer => {
	const family = familyOf(packet.source);
	const plain = withHeader(packet.source, packet.destination, packet.protocol, transportOf(packet, family));
	const { unreachable, tooBigFor } = packet;
	if (!unreachable && tooBigFor === undefined) return plain;
	const complaint = Buffer.alloc(8);
	if (tooBigFor === undefined) {
		complaint[0] = family === 4 ? 3 : 1;
		complaint[1] = family === 4 ? 3 : 4;
	} else {
		complaint[0] = family === 4 ? 3 : 2;
		complaint[1] = family === 4 ? 4 : 0;
		if (family === 4) complaint.writeUInt16BE(1400, 6);
		else complaint.writeUInt32BE(1400, 4);
	}
	return withHeader(tooBigFor ?? packet.destination, packet.source, 'ICMP', Buffer.concat([complaint, plain]));
};

export type Seen = { readonly number: number; readonly source: string; readonly sourcePort: number };

/** What an IP packet says of itself; undefined when it is none of those that are made here. */
export const decodePacket = (data: Buffer, at: number, end: number): Seen | undefined => {
	const family = (data[at] as number) >>> 4 === 4 ? 4 : 6;
	const protocol = data[at + (family === 4 ? 9 : 6)] as number;
	const source = addressFromBytes(data, family, at + (family === 4 ? 12 : 8));
	const start = at + (family === 4 ? 20 : 40);
	if (start + 12 > end) return undefined;
	const seen = decodeTransport(data, start, protocol);
	if (seen !== undefined) return { number: seen, source, sourcePort: data.readUInt16BE(start) };
	const error = protocol === 1 ? data[start] === 3 : protocol === 58 && (data[start] === 1 || data[start] === 2);
	return error ? decodePacket(data, start + 8, end) : undefined;
};

/** The number in a transport header. */
export const decodeTransport = (data: Buffer, start: number, protocol: number): number | undefined => {
	switch (protocol) {
		case 6:
			return data.readUInt32BE(start + 4);
		case 17:
			return data.readUInt32BE(start + 8);
		case 132:
			return data[start + 12] === 1 ? data.readUInt32BE(start + 16) : undefined;
		case other:
			return data.readUInt32BE(start + 8);
		case 1:
			return data[start] === 8 || data[start] === 0 ? data.readUInt32BE(start + 8) : undefined;
		case 58:
			return data[start] === 128 || data[start] === 129 ? data.readUInt32BE(start + 8) : undefined;
		default:
			return undefined;
	}
};
