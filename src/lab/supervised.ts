import { join } from 'node:path';
import { stringify } from 'yaml';
import { paths } from './lab-state.ts';
import { type Lab, type Machine, torNetns } from './plan.ts';
import { routerOf } from './routers/index.ts';

/** What the supervisor keeps running, told by the lab's plan alone. */

export type Supervised = {
	/** `n1/felix`, `tor/bird`: also where log and pid file are, below the state folder. */
	readonly id: string;
	readonly netns: string;
	readonly argv: readonly string[];
	readonly env: Readonly<Record<string, string>>;
};

export const daemons = ['felix', 'bird'] as const;
export type Daemon = (typeof daemons)[number];

const mainFile = join(import.meta.dirname, '..', 'main.ts');

export const supervisedOf = (lab: Lab): readonly Supervised[] => {
	const { node, tor } = paths(lab.name);
	const manx = lab.machines.flatMap((machine) =>
		daemons.map((daemon) => ({
			id: `${machine.name}/${daemon}`,
			netns: machine.netns,
			argv: [process.execPath, mainFile, daemon, '--config', join(node(machine.name), `${daemon}.yaml`)],
			// Each node has its own tables, so it has its own lock on them.
			env: { XTABLES_LOCKFILE: join(node(machine.name), 'xtables.lock') },
		})),
	);
	const router = (routerOf(lab)?.processes(lab, tor) ?? []).map(({ name, argv }) => ({
		id: `tor/${name}`,
		netns: torNetns(lab.name),
		argv,
		env: {},
	}));
	return [...router, ...manx];
};

/** Text of a node's felix.yaml and bird.yaml. */
export const settingsOf = (lab: Lab, machine: Machine): string => {
	const { objects, runDir } = paths(lab.name);
	return stringify({
		nodeName: machine.name,
		datastore: { kind: 'directory', path: objects },
		mode: lab.mode,
		runDir: runDir(machine.name),
		masquerade: lab.masquerade,
		iptablesBackend: lab.iptablesBackend,
		logLevel: lab.logLevel,
		// The machine's own programs have nothing to do with the lab's namespaces.
		hostRoot: '',
	});
};
