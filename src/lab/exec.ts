import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { type Lab, torNetns } from './plan.ts';
import { inNetns, LabError } from './shell.ts';

/** The namespace of `NS/POD` (or `POD` of namespace default), `node/n1`, `out/out1` or `router/tor`. */
export const netnsOfTarget = (lab: Lab, target: string): string => {
	const slash = target.indexOf('/');
	const [namespace, name] = slash < 0 ? ['default', target] : [target.slice(0, slash), target.slice(slash + 1)];
	// A pod comes first: its namespace may well be called `node`.
	const sandbox = lab.sandboxes.find((one) => one.namespace === namespace && one.name === name);
	if (sandbox !== undefined) return sandbox.netns;
	const others: Readonly<Record<string, readonly { readonly name: string; readonly netns: string }[]>> = {
		node: lab.machines,
		out: lab.outside,
		router: lab.tor === 'none' ? [] : [{ name: 'tor', netns: torNetns(lab.name) }],
	};
	const found = others[namespace]?.find((one) => one.name === name);
	if (found !== undefined) return found.netns;
	const known = [
		...lab.sandboxes.map((one) => `${one.namespace}/${one.name}`),
		...Object.entries(others).flatMap(([kind, list]) => list.map((one) => `${kind}/${one.name}`)),
	];
	throw new LabError(`There is no ${target} in lab "${lab.name}". There are: ${known.join(' ')}`);
};

/** Runs a command in a namespace on this terminal; answers with its exit status as a shell would. */
export const execIn = (netns: string, command: readonly string[]): Promise<number> =>
	new Promise((resolve) => {
		const [program, args] = inNetns(netns, command);
		const child = spawn(program, args, { stdio: 'inherit' });
		// The terminal sends its signals to both: the command decides what to do with them.
		const ignore = () => {};
		process.on('SIGINT', ignore);
		process.on('SIGTERM', () => child.kill('SIGTERM'));
		child.on('error', (error) => {
			console.error(error.message);
			resolve(127);
		});
		child.on('close', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
	});
