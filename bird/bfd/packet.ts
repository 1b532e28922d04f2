import type { BfdState } from './types.ts';

/** BFD control packets (RFC 5880 §4.1), bytes to values and back. Intervals are microseconds, as on the wire. */

export type ControlPacket = {
	/** 0..31. */
	readonly diagnostic: number;
	readonly state: BfdState;
	readonly poll: boolean;
	readonly final: boolean;
	readonly controlPlaneIndependent: boolean;
	readonly demand: boolean;
	readonly detectMultiplier: number;
	readonly myDiscriminator: number;
	/** 0: not known yet. */
	readonly yourDiscriminator: number;
	readonly desiredMinTx: number;
	readonly requiredMinRx: number;
	readonly requiredMinEchoRx: number;
};

export type DecodedControl =
	| { readonly ok: true; readonly packet: ControlPacket }
	| { readonly ok: false; readonly error: string };

const VERSION = 1;
const LENGTH = 24;
const states: readonly BfdState[] = ['AdminDown', 'Down', 'Init', 'Up'];

const FLAG = { poll: 0x20, final: 0x10, independent: 0x08, authentication: 0x04, demand: 0x02, multipoint: 0x01 };

const refuse = (error: string): DecodedControl => ({ ok: false, error });

/** The checks of RFC 5880 §6.8.6 that need no session; authentication is never in use here. */
export const decodeControl = (bytes: Uint8Array): DecodedControl => {
	if (bytes.length < LENGTH) return refuse(`is ${bytes.length} bytes long, less than ${LENGTH}`);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const [first, flags, detectMultiplier, length] = [0, 1, 2, 3].map((at) => view.getUint8(at)) as [
		number,
		number,
		number,
		number,
	];
	if (first >> 5 !== VERSION) return refuse(`has version ${first >> 5}, not ${VERSION}`);
	if (length < LENGTH) return refuse(`has length ${length}, less than ${LENGTH}`);
	if (length > bytes.length) return refuse(`has length ${length}, more than the ${bytes.length} bytes there are`);
	if (detectMultiplier === 0) return refuse('has detection multiplier 0');
	if (flags & FLAG.multipoint) return refuse('has the multipoint bit set');
	if (flags & FLAG.authentication) return refuse('is authenticated, but no authentication is in use');
	const packet: ControlPacket = {
		diagnostic: first & 31,
		state: states[flags >> 6] as BfdState,
		poll: (flags & FLAG.poll) !== 0,
		final: (flags & FLAG.final) !== 0,
		controlPlaneIndependent: (flags & FLAG.independent) !== 0,
		demand: (flags & FLAG.demand) !== 0,
		detectMultiplier,
		myDiscriminator: view.getUint32(4),
		yourDiscriminator: view.getUint32(8),
		desiredMinTx: view.getUint32(12),
		requiredMinRx: view.getUint32(16),
		requiredMinEchoRx: view.getUint32(20),
	};
	if (packet.myDiscriminator === 0) return refuse('has My Discriminator 0');
	if (packet.yourDiscriminator === 0 && packet.state !== 'Down' && packet.state !== 'AdminDown') {
		return refuse(`has Your Discriminator 0 in state ${packet.state}`);
	}
	return { ok: true, packet };
};

export const encodeControl = (packet: ControlPacket): Uint8Array => {
	const bytes = new Uint8Array(LENGTH);
	const view = new DataView(bytes.buffer);
	const bit = (on: boolean, flag: number): number => (on ? flag : 0);
	view.setUint8(0, (VERSION << 5) | packet.diagnostic);
	view.setUint8(
		1,
		(states.indexOf(packet.state) << 6) |
			bit(packet.poll, FLAG.poll) |
			bit(packet.final, FLAG.final) |
			bit(packet.controlPlaneIndependent, FLAG.independent) |
			bit(packet.demand, FLAG.demand),
	);
	view.setUint8(2, packet.detectMultiplier);
	view.setUint8(3, LENGTH);
	view.setUint32(4, packet.myDiscriminator);
	view.setUint32(8, packet.yourDiscriminator);
	view.setUint32(12, packet.desiredMinTx);
	view.setUint32(16, packet.requiredMinRx);
	view.setUint32(20, packet.requiredMinEchoRx);
	return bytes;
};
