import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { systemTimers } from '../timers.ts';
import { createEngine } from './engine.ts';
import type { FromWorker, ToWorker } from './protocol.ts';
import { udpSockets } from './udp.ts';

/** The BFD thread: what the speaker's thread does, however long, delays no packet and no detection. */

const tell = (message: FromWorker): void => parentPort?.postMessage(message);

try {
	// Linux: of this thread alone. Needs CAP_SYS_NICE; without it the thread is like all others.
	setPriority(0, -19);
} catch {}

const engine = createEngine(
	{ sockets: udpSockets, timers: systemTimers, wallClock: () => new Date() },
	{
		report: (report) => tell({ type: 'report', report }),
		changed: (change) => tell({ type: 'changed', change }),
	},
);

parentPort?.on('message', (message: ToWorker) => {
	switch (message.type) {
		case 'add':
			engine.add(message.options, message.counters);
			break;
		case 'remove':
			engine.remove(message.peer);
			break;
		case 'stop':
			engine.stop(message, () => tell({ type: 'stopped' }));
			break;
	}
});
