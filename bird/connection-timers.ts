import type { Event, TimerName } from './session/fsm.ts';
import type { Timer, Timers } from './timers.ts';

/** The timers of one connection's state machine (RFC 4271 §8.1.3, §10), and the events they end in. */

export type ConnectionTimers = {
	/** A running one starts anew. */
	readonly start: (name: TimerName, seconds: number, jitter: boolean) => void;
	/** As long as before, if it runs. */
	readonly refresh: (name: TimerName) => void;
	readonly stop: (name: TimerName) => void;
	readonly stopAll: () => void;
	/** A message was read: the peer lives. */
	readonly heard: () => void;
};

const expiry = {
	connectRetry: 'ConnectRetryTimer_Expires',
	hold: 'HoldTimer_Expires',
	keepalive: 'KeepaliveTimer_Expires',
	idleHold: 'IdleHoldTimer_Expires',
	settle: 'SettleTimer_Expires',
} as const;

export const createConnectionTimers = (timers: Timers, expired: (event: Event) => void): ConnectionTimers => {
	const running = new Map<TimerName, { seconds: number; timer: Timer }>();
	/** Since the hold timer was last looked at. */
	let heard = false;

	const stop = (name: TimerName): void => {
		running.get(name)?.timer.cancel();
		running.delete(name);
	};

	return {
		start: (name, seconds, jitter) => {
			const known = running.get(name);
			// A hold timer starts anew with every message: cheaply.
			if (known?.seconds === seconds && !jitter) {
				known.timer.refresh();
				return;
			}
			known?.timer.cancel();
			const jittered = seconds * 1000 * (jitter ? 1 - timers.random() / 4 : 1);
			// RFC 4271 §4.4: no more than one KEEPALIVE a second.
			const milliseconds = name === 'keepalive' ? Math.max(1000, jittered) : jittered;
			const timer = timers.start(milliseconds, () => {
				if (name !== 'hold') {
					running.delete(name);
					expired({ type: expiry[name] });
					return;
				}
				// After a pause of this process the peer's messages may lie unread: they are read first.
				heard = false;
				timers.soon(() => {
					if (running.get('hold')?.timer !== timer) return;
					if (heard) {
						timer.refresh();
						return;
					}
					running.delete('hold');
					expired({ type: 'HoldTimer_Expires' });
				});
			});
			running.set(name, { seconds, timer });
		},
		refresh: (name) => running.get(name)?.timer.refresh(),
		stop,
		stopAll: () => {
			for (const name of [...running.keys()]) stop(name);
		},
		heard: () => {
			heard = true;
		},
	};
};
