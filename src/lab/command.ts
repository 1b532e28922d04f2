import { Command, InvalidArgumentError, Option } from 'commander';
import { applyObjects, deleteObjects, type Report } from './apply.ts';
import { checkLab } from './check.ts';
import { bringDown } from './down.ts';
import { execIn, netnsOfTarget } from './exec.ts';
import { checkLabName, findLab, hasTraces, loadLab } from './lab-state.ts';
import { readManifests } from './manifests.ts';
import { raiseGeneration } from './object-store.ts';
import type { Lab, Mode, TorSoftware } from './plan.ts';
import { routerOf } from './routers/index.ts';
import { LabError } from './shell.ts';
import { readableStatus, statusOfLab } from './status.ts';
import { ensureSupervisor } from './supervisor.ts';
import { ensurePrograms } from './system-packages.ts';
import { duration } from './table.ts';
import type { UpOptions } from './topology.ts';
import { bringUp } from './up.ts';
import { refusalsOf, waitForGeneration } from './wait.ts';

/** `manx lab ...`: argv to what is done, and what is printed. Results go to standard output, progress to standard error. */

type Flags = {
	readonly name?: string;
	readonly nodes?: number;
	readonly pods?: number;
	readonly outside: number;
	readonly mode: Mode;
	readonly tor: TorSoftware;
	readonly masquerade: boolean;
	readonly iptables: Lab['iptablesBackend'];
	readonly logLevel: string;
	readonly file?: readonly string[];
	readonly timeout: number;
	readonly output?: string;
};

const progress = (line: string): void => console.error(line);

const count = (least: number) => (text: string) => {
	const value = Number(text);
	if (!/^\d+$/.test(text) || value < least) throw new InvalidArgumentError(`It is a whole number from ${least} on.`);
	return value;
};

const seconds = (text: string): number => {
	const value = Number(text);
	if (text.trim() === '' || !Number.isFinite(value) || value < 0)
		throw new InvalidArgumentError('It is a number of seconds.');
	return value;
};

const collect = (text: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), text];

const basicPrograms = ['ip', 'iptables', 'ipset', 'conntrack', 'ping', 'tcpdump'];

/** Runs a subcommand: expected failures are printed and end in status 1, others are bugs and show where. */
const guarded = async (programs: readonly string[], task: () => Promise<number>): Promise<void> => {
	try {
		if (process.getuid?.() !== 0) {
			throw new LabError('The lab makes network namespaces: run it as root (sudo npm run lab).');
		}
		const missing = ensurePrograms([...programs], progress);
		if (missing !== undefined) throw new LabError(missing);
		process.exitCode = await task();
	} catch (error) {
		if (!(error instanceof LabError)) throw error;
		console.error(error.message);
		process.exitCode = 1;
	}
};

const programsFor = (flags: Flags): string[] => [
	...basicPrograms,
	'gcc',
	'libc.a',
	...(routerOf({ tor: flags.tor, mode: flags.mode })?.programs ?? []),
];

const upOptions = (name: string, flags: Flags): UpOptions => ({
	name,
	nodes: flags.nodes,
	pods: flags.pods,
	outside: flags.outside,
	mode: flags.mode,
	tor: flags.tor,
	masquerade: flags.masquerade,
	iptablesBackend: flags.iptables,
	logLevel: flags.logLevel,
	manifests: flags.file === undefined ? undefined : readManifests(flags.file),
});

const print = (report: Report): number => {
	for (const line of report.lines) console.log(line);
	return report.ok ? 0 : 1;
};

const howToGoOn = (name: string): string => {
	const suffix = name === 'lab' ? '' : ` --name ${name}`;
	const commands = [
		[`status${suffix}`, 'what is there'],
		[`exec${suffix} default/p1 -- ping -c 3 10.244.2.1`, 'in a pod; node/n1, router/tor and out/out1 too'],
		[`apply${suffix} -f policy.yaml`, 'add or change objects'],
		[`wait${suffix}`, 'until they are in force everywhere'],
		[`check${suffix}`, 'all pairs again'],
		[`down${suffix}`, 'remove it all'],
	] as const;
	const lines = commands.map(([words, what]) => `  npm run lab -- ${words.padEnd(46)}  ${what}`);
	return ['The lab stays up. Go on:', ...lines, 'More in docs/lab.md.'].join('\n');
};

const check = async (name: string): Promise<number> => {
	const lab = loadLab(name);
	await ensureSupervisor(name);
	const started = performance.now();
	const result = await checkLab(lab);
	console.log(result.text);
	console.log(result.ok ? `Check passed (${duration(started)}).` : `Check FAILED (${duration(started)}).`);
	return result.ok ? 0 : 1;
};

const demo = async (options: () => UpOptions, name: string): Promise<number> => {
	if (findLab(name)?.complete === true) progress(`Lab "${name}" is up already: checking it.`);
	else await bringUp(options(), progress);
	const status = await check(name);
	console.log(`\n${await readableStatus(loadLab(name))}\n\n${howToGoOn(name)}`);
	return status;
};

const wait = async (name: string, timeout: number): Promise<number> => {
	const lab = loadLab(name);
	await ensureSupervisor(name);
	const started = performance.now();
	const generation = await raiseGeneration(name);
	const problems = await waitForGeneration(lab, generation, timeout * 1000);
	const refusals = await refusalsOf(lab);
	for (const refusal of refusals) console.error(refusal);
	if (problems.length === 0) {
		console.log(`Every daemon has applied generation ${generation} (${duration(started)}).`);
		return 0;
	}
	console.error(`Not everything is applied after ${duration(started)}:\n  ${problems.join('\n  ')}`);
	return 1;
};

const withUpOptions = (command: Command): Command =>
	command
		.option('--nodes <n>', 'number of nodes (default: 3)', count(1))
		.option('--pods <n>', 'number of pods in all (default: two a node; none with -f)', count(0))
		.option('--outside <n>', 'hosts behind the router', count(0), 1)
		.addOption(new Option('--mode <mode>', 'how routes come about').choices(['bgp', 'host-gw']).default('bgp'))
		.addOption(
			new Option('--tor <software>', 'top-of-rack router').choices(['bird', 'frr', 'gobgp', 'none']).default('bird'),
		)
		.option('-f, --file <path>', 'YAML of nodes, namespaces, pods and policies (file, folder or -)', collect)
		.option('--no-masquerade', 'pods reach the outside with their own address')
		.addOption(
			new Option('--iptables <backend>', 'which iptables the nodes use')
				.choices(['auto', 'legacy', 'nft'])
				.default('auto'),
		)
		.addOption(
			new Option('--log-level <level>', "of the daemons' logs")
				.choices(['debug', 'info', 'warn', 'error'])
				.default('info'),
		);

const needsFile = (flags: Flags, verb: string): readonly string[] => {
	if (flags.file === undefined)
		throw new LabError(`What is to be ${verb}? Say it: -f FILE, -f FOLDER or -f - for standard input.`);
	return flags.file;
};

export const labCommand = (): Command => {
	const lab = withUpOptions(new Command('lab'))
		.description('a routed network of nodes, pods and a router in network namespaces; alone: up, check and a table')
		.option('--name <name>', 'of the lab, so that several can be up (default: lab)')
		.enablePositionalOptions();
	const add = (name: string, description: string): Command =>
		lab.command(name).description(description).option('--name <name>', 'of the lab (default: lab)');
	/** A subcommand's options; those given before its name (`lab --nodes 2 up`) count too. */
	const merged = (command: Command): Flags => {
		const given = Object.entries(lab.opts()).filter(
			([key]) => lab.getOptionValueSource(key) === 'cli' && command.getOptionValueSource(key) !== 'cli',
		);
		return { ...command.opts<Flags>(), ...Object.fromEntries(given) };
	};
	const on = (handle: (flags: Flags) => Promise<void>) => (_: unknown, command: Command) => handle(merged(command));
	const nameOf = (flags: Flags): string => {
		const name = flags.name ?? 'lab';
		checkLabName(name);
		return name;
	};

	lab.action((flags: Flags) =>
		guarded(programsFor(flags), () => {
			const name = nameOf(flags);
			return demo(() => upOptions(name, flags), name);
		}),
	);
	withUpOptions(add('up', 'bring a lab up')).action(
		on((flags) =>
			guarded(programsFor(flags), async () => {
				const started = performance.now();
				const up = await bringUp(upOptions(nameOf(flags), flags), progress);
				console.log(`Lab "${up.name}" is up (${duration(started)}).`);
				return 0;
			}),
		),
	);
	add('apply', 'write objects; start pods that are new')
		.option('-f, --file <path>', 'YAML file, folder or - (may be repeated)', collect)
		.action(
			on((flags) =>
				guarded(basicPrograms, async () =>
					print(await applyObjects(nameOf(flags), readManifests(needsFile(flags, 'applied')))),
				),
			),
		);
	add('delete', 'delete objects; end their pods')
		.option('-f, --file <path>', 'YAML file, folder or - (may be repeated)', collect)
		.action(
			on((flags) =>
				guarded(basicPrograms, async () =>
					print(await deleteObjects(nameOf(flags), readManifests(needsFile(flags, 'deleted')))),
				),
			),
		);
	add('wait', 'return when every daemon has applied everything written so far')
		.option('--timeout <seconds>', 'how long at most', seconds, 30)
		.action(on((flags) => guarded(['ip'], () => wait(nameOf(flags), flags.timeout))));
	add('status', 'what is there and whether it is in sync')
		.addOption(new Option('-o, --output <format>', 'a table, or JSON').choices(['table', 'json']).default('table'))
		.action(
			on((flags) =>
				guarded(['ip'], async () => {
					const plan = loadLab(nameOf(flags));
					console.log(
						flags.output === 'json' ? JSON.stringify(await statusOfLab(plan), null, 2) : await readableStatus(plan),
					);
					return 0;
				}),
			),
		);
	add('exec', 'run a command in a pod (NS/POD), or in node/NAME, router/tor, out/NAME')
		.argument('<target>')
		.argument('<command...>')
		.passThroughOptions()
		.action((target: string, argv: readonly string[], _: unknown, command: Command) =>
			guarded(['ip'], () => {
				const netns = netnsOfTarget(loadLab(nameOf(merged(command))), target);
				// Commander hands the separating `--` on together with what follows it.
				return execIn(netns, argv[0] === '--' ? argv.slice(1) : argv);
			}),
		);
	add('check', 'every pod to every pod and the outside, both families, no tunnel').action(
		on((flags) => guarded(basicPrograms, () => check(nameOf(flags)))),
	);
	add('down', 'remove the lab: processes, namespaces, files').action(
		on((flags) =>
			guarded(['ip'], async () => {
				const name = nameOf(flags);
				const started = performance.now();
				const there = hasTraces(name) && (await bringDown(name));
				console.log(
					there ? `Lab "${name}" is gone (${duration(started)}).` : `There is no lab "${name}"; nothing to do.`,
				);
				return 0;
			}),
		),
	);
	return lab;
};
