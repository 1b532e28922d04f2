import { closeSync, openSync, stat } from 'node:fs';
import { kernelError } from './kernel-error.ts';
import { CLONE_NEWNET, errno, setns } from './libc.ts';

/**
 * Entering network namespaces. setns(2) is per thread, so everything between going in and coming back is synchronous:
 * no other code of this thread ever runs inside. Sockets opened inside stay in that namespace.
 */

let home: number | undefined;

const homeNamespace = (): number => {
	if (home === undefined) {
		home = openSync('/proc/thread-self/ns/net', 'r');
		// libuv starts its worker threads at the first asynchronous file operation; were that to happen inside, they
		// would live in the pod's namespace for good.
		stat('/', () => {});
	}
	return home;
};

/**
 * Runs `run` in the namespace behind `netns` (a path such as /run/netns/x, or an open descriptor) and returns what it
 * returns. Throws when the namespace cannot be entered; ends the process when it cannot be left, since everything
 * done after that would happen in somebody else's network.
 */
export const inNetns = <T>(netns: string | number, run: () => T): T => {
	const back = homeNamespace();
	const fd = typeof netns === 'number' ? netns : openSync(netns, 'r');
	try {
		if (setns(fd, CLONE_NEWNET) < 0) {
			const error = kernelError(errno(), `enter the network namespace ${netns}`);
			throw new Error(error.message, { cause: error });
		}
		try {
			return run();
		} finally {
			if (setns(back, CLONE_NEWNET) < 0) {
				process.stderr.write(`cannot leave network namespace ${netns} (errno ${errno()}): aborting\n`);
				process.abort();
			}
		}
	} finally {
		if (typeof netns !== 'number') closeSync(fd);
	}
};
