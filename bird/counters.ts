import type { UpdateMessage } from 'bgp-js-lite';
import type { Cause, FsmState } from './session/fsm.ts';

/** What a peer has come to since it was configured; numbers that only grow. Pure. */

export type SessionCounters = {
	/** Times each state of RFC 4271 §8 was entered. */
	readonly entered: Readonly<Partial<Record<FsmState, number>>>;
	readonly updatesReceived: number;
	/** UPDATEs and End-of-RIBs. */
	readonly updatesSent: number;
	/** Malformed in a way that leaves the session up (RFC 7606). */
	readonly updateErrors: number;
	/** Routes that make no sense here, by themselves. */
	readonly routesRefused: number;
	/** NOTIFICATIONs by `code/subcode`. */
	readonly notificationsReceived: Readonly<Record<string, number>>;
	readonly notificationsSent: Readonly<Record<string, number>>;
};

export type Counters = {
	readonly entered: (state: FsmState) => void;
	readonly received: (message: UpdateMessage, refused: number) => void;
	readonly sent: (messages: number) => void;
	/** A session, or an attempt at one, ended. */
	readonly ended: (cause: Cause) => void;
	readonly read: () => SessionCounters;
};

export const createCounters = (): Counters => {
	const entered: Partial<Record<FsmState, number>> = {};
	const notifications = { received: {} as Record<string, number>, sent: {} as Record<string, number> };
	const updates = { updatesReceived: 0, updatesSent: 0, updateErrors: 0, routesRefused: 0 };
	return {
		entered: (state) => {
			entered[state] = (entered[state] ?? 0) + 1;
		},
		received: ({ errors = [] }, refused) => {
			updates.updatesReceived++;
			if (errors.length > 0) updates.updateErrors++;
			updates.routesRefused += refused;
		},
		sent: (messages) => {
			updates.updatesSent += messages;
		},
		ended: ({ kind, notification }) => {
			if (notification === undefined) return;
			const counts = kind === 'received' ? notifications.received : notifications.sent;
			const which = `${notification.code}/${notification.subcode}`;
			counts[which] = (counts[which] ?? 0) + 1;
		},
		read: () => ({
			...updates,
			entered: { ...entered },
			notificationsReceived: { ...notifications.received },
			notificationsSent: { ...notifications.sent },
		}),
	};
};
