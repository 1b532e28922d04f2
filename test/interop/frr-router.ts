import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { output, type Process, until, type Wire } from './harness.ts';

/** FRR as the router in a namespace: zebra, and the daemons a test starts with a configuration of its own. */

export type FrrDaemon = 'bgpd' | 'bfdd';

export type FrrRouter = {
	readonly start: (name: FrrDaemon, conf: string) => Process;
	/** Commands of one session of vtysh; '' when it does not answer. */
	readonly vtysh: (...commands: string[]) => Promise<string>;
	readonly established: (neighbour: string) => Promise<boolean>;
	readonly logs: () => string;
};

export const startFrr = async (wire: Wire, netns = wire.router): Promise<FrrRouter> => {
	const sockets = join(wire.folder, `frr-${netns}`);
	mkdirSync(sockets);
	// The daemons change to the user frr.
	chmodSync(wire.folder, 0o755);
	chmodSync(sockets, 0o777);
	const started: Process[] = [];
	const start = (name: FrrDaemon | 'zebra', conf: string): Process => {
		const daemon = wire.start(netns, `/usr/lib/frr/${name}`, [
			...['-f', wire.file(`${name}-${netns}.conf`, conf), '-i', join(sockets, `${name}.pid`)],
			...['-z', join(sockets, 'zserv.api'), '--vty_socket', sockets, '-P', '0', '--log', 'stdout'],
			...(name === 'bfdd' ? ['--bfdctl', join(sockets, 'bfdd.sock')] : []),
		]);
		started.push(daemon);
		return daemon;
	};
	const vtysh = (...commands: string[]): Promise<string> =>
		output('vtysh', ['--vty_socket', sockets, ...commands.flatMap((command) => ['-c', command])]).catch(() => '');
	start('zebra', '');
	await until('zebra answers', async () => (await vtysh('show version')) !== '');
	return {
		start,
		vtysh,
		established: async (neighbour) => /BGP state = Established/.test(await vtysh(`show bgp neighbors ${neighbour}`)),
		logs: () => started.map((daemon) => daemon.log()).join('\n'),
	};
};
