import { detectionTime, type Session, transmitInterval } from './session.ts';
import type { BfdSessionOptions, BfdSessionStatus } from './types.ts';

/** All of the status but the counters, which are kept in shared memory. */
export type SessionReport = Omit<BfdSessionStatus, 'sent' | 'received' | 'refused'>;

export const reportOf = (
	options: BfdSessionOptions,
	session: Session,
	since: Date,
	lastError: string,
): SessionReport => ({
	peer: options.peer,
	address: options.address,
	localAddress: options.localAddress,
	multihop: options.multihop,
	state: session.state,
	since: since.toISOString(),
	lastError,
	transmitInterval: transmitInterval(session),
	detectionTime: detectionTime(session),
	remote: {
		state: session.remoteState,
		transmitInterval: session.remoteDesiredMinTx / 1000,
		receiveInterval: session.remoteMinRx / 1000,
		detectMultiplier: session.remoteDetectMultiplier,
		controlPlaneIndependent: session.remoteControlPlaneIndependent,
	},
});

const shown = [
	'state',
	'remoteState',
	'effectiveTx',
	'effectiveRx',
	'remoteMinRx',
	'remoteDesiredMinTx',
	'remoteDetectMultiplier',
	'remoteControlPlaneIndependent',
] as const satisfies readonly (keyof Session)[];

/** Whether a report of one is another than of the other. */
export const looksDifferent = (a: Session, b: Session): boolean => shown.some((field) => a[field] !== b[field]);
