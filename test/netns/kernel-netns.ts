import { execFileSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import type { Kernel, Owner, Route } from '../../src/kernel/kernel.ts';
import { type OpenKernelOptions, openKernel } from '../../src/kernel/open-kernel.ts';
import type { Logger } from '../../src/logging.ts';

/** A network namespace of its own for one test file, with a veth pair whose both ends are in it, and kernels open on it. */
export type TestNetns = {
	readonly name: string;
	readonly path: string;
	/** `ip -n NETNS ARGS`; throws on failure. */
	readonly ip: (args: string, input?: string) => string;
	/** Runs a program inside. */
	readonly exec: (program: string, ...args: string[]) => string;
	readonly kernel: (options?: Partial<OpenKernelOptions>) => Kernel;
	readonly log: Logger;
	/** Warnings and errors logged so far. */
	readonly logged: string[];
	readonly remove: () => void;
};

let count = 0;

export const createTestNetns = (): TestNetns => {
	const name = `manxt-${process.pid}-k${count++}`;
	const path = `/run/netns/${name}`;
	const kernels: Kernel[] = [];
	const logged: string[] = [];
	const note = (fields: object, message: string): void => {
		logged.push(`${message} ${JSON.stringify(fields)}`);
	};
	const log: Logger = { debug: () => {}, info: () => {}, warn: note, error: note, child: () => log };
	const run = (program: string, args: readonly string[], input?: string): string =>
		execFileSync(program, args, { encoding: 'utf8', stdio: 'pipe', ...(input === undefined ? {} : { input }) });
	run('ip', ['netns', 'add', name]);
	const ip = (args: string, input?: string): string => run('ip', ['-n', name, ...args.split(' ')], input);
	ip('link set lo up');
	ip('link add up0 type veth peer name up1');
	ip('address add 192.0.2.2/24 dev up0');
	ip('address add fd00:2::2/64 dev up0 nodad');
	ip('link set up0 up');
	ip('link set up1 up');
	return {
		name,
		path,
		ip,
		exec: (program, ...args) => run('ip', ['netns', 'exec', name, program, ...args]),
		kernel: (options = {}) => {
			const kernel = openKernel({ log, netns: path, ...options });
			kernels.push(kernel);
			return kernel;
		},
		log,
		logged,
		remove: () => {
			for (const kernel of kernels) kernel.close();
			run('ip', ['netns', 'delete', name]);
		},
	};
};

/** Waits until `done` holds; fails after ten seconds with `what`. */
export const until = async (done: () => boolean | Promise<boolean>, what: string): Promise<void> => {
	const end = Date.now() + 10_000;
	while (!(await done())) {
		if (Date.now() > end) throw new Error(`still not so after 10 s: ${what}`);
		await setTimeout(5);
	}
};

/** `10.0.0.0/24 via 192.0.2.1`, `fd00::1/128 dev up0`, `10.1.0.0/16 blackhole`, hops separated by `, `. */
export const route = (owner: Owner, text: string, more: Partial<Route> = {}): Route => {
	const [dst, ...rest] = text.split(' ') as [string, ...string[]];
	const hops = rest.join(' ').split(', ');
	const blackhole = rest[0] === 'blackhole';
	const nextHops = hops.map((hop) => {
		const words = hop.split(' ');
		const after = (word: string): string | undefined =>
			words.includes(word) ? words[words.indexOf(word) + 1] : undefined;
		const via = after('via');
		const dev = after('dev');
		const weight = after('weight');
		return {
			...(via === undefined ? {} : { via }),
			...(dev === undefined ? {} : { dev }),
			...(weight === undefined ? {} : { weight: Number(weight) }),
			...(words.includes('onlink') ? { onlink: true } : {}),
		};
	});
	return {
		dst,
		type: blackhole ? 'blackhole' : 'unicast',
		scope: !blackhole && !dst.includes(':') && nextHops.every((hop) => hop.via === undefined) ? 'link' : 'universe',
		protocol: owner.protocol,
		metric: owner.metric,
		nextHops: blackhole ? [] : nextHops,
		...more,
	};
};
