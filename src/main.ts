import { Command } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import type { BgpOptions, RoutesOptions } from './cli/bgp.ts';
import type { ExplainOptions } from './cli/explain.ts';
import type { FlowsOptions } from './cli/flows.ts';

/** The command line. Each command loads what it needs when it runs: `manx status` need not wait for a BGP codec. */

const program = new Command('manx')
	.description('Node networking for Kubernetes without tunnels: routed pods, BGP, NetworkPolicy.')
	.version(packageJson.version)
	.enablePositionalOptions()
	.showHelpAfterError('(manx --help tells what there is)');

const daemonOption = ['-c, --config <file>', 'YAML file of settings (docs/reference/settings.md)'] as const;
const socketOption = ['--socket <path>', "felix's control socket (default: felix.sock in runDir)"] as const;

program
	.command('felix')
	.description('run the daemon for pods, their routes and policies')
	.option(...daemonOption)
	.action(async (options: { config?: string }) => {
		const { runFelix } = await import('./daemon/felix-daemon.ts');
		await runFelix(options.config);
	});

program
	.command('bird')
	.description('run the BGP speaker')
	.option(...daemonOption)
	.action(async (options: { config?: string }) => {
		const { runBird } = await import('./daemon/bird-daemon.ts');
		await runBird(options.config);
	});

program
	.command('install-cni')
	.description('put the CNI executables into the folder of the container runtime')
	.option(...daemonOption)
	.option('--from <folder>', 'where they are', '/usr/lib/manx/cni')
	.option('--to <folder>', 'where the runtime looks for them; the setting cniBinDir when absent')
	.option('--host <folder>', 'where the files of the host are, to note what felix shall know of them')
	.action(async (options: { config?: string; from: string; to?: string; host?: string }) => {
		const { installCni } = await import('./cli/install-cni.ts');
		installCni(options);
	});

program
	.command('status')
	.description('how this node is doing; ends with 1 when something is wrong')
	.option(...daemonOption)
	.option('-o, --output <format>', 'text or json', 'text')
	.action(async (options: { config?: string; output: string }) => {
		const { status } = await import('./cli/status.ts');
		await status(options);
	});

program
	.command('cleanup')
	.description('take everything of Manx off this node: rules, sets, routes, pod interfaces, settings, records')
	.option(...daemonOption)
	.option('--yes', 'really do it: pods of this node lose their network')
	.action(async (options: { config?: string; yes?: boolean }) => {
		const { cleanup } = await import('./cli/cleanup.ts');
		await cleanup(options);
	});

program
	.command('explain')
	.description('what becomes of a packet on this node and why; ends with 1 when it is denied')
	// 1 is an answer here: a question that cannot be read ends with 2.
	.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
	.argument('<source>', 'NAMESPACE/POD or IP')
	.argument('<destination>', 'NAMESPACE/POD:PORT/PROTOCOL or IP:PORT/PROTOCOL; without a port a ping is meant')
	.option(...daemonOption)
	.option(...socketOption)
	.option('-o, --output <format>', 'text or json', 'text')
	.action(async (source: string, destination: string, options: ExplainOptions) => {
		const { explain } = await import('./cli/explain.ts');
		await explain(source, destination, options);
	});

program
	.command('flows')
	.description('what policies of this node decided on new connections, and why')
	.option(...daemonOption)
	.option(...socketOption)
	.option('--denied', 'only what was denied')
	.option('-f, --follow', 'go on with those to come')
	.option('-o, --output <format>', 'text or json', 'text')
	.action(async (options: FlowsOptions) => {
		const { flows } = await import('./cli/flows.ts');
		await flows(options);
	});

const bgp = program.command('bgp').description("this node's BGP sessions and routes");
const bgpOptions = (command: Command): Command =>
	command
		.option(...daemonOption)
		.option('--socket <path>', "bird's control socket (default: bird.sock in runDir)")
		.option('-o, --output <format>', 'text or json', 'text');
bgpOptions(bgp.command('peers'))
	.description('sessions, their state and why they are not up')
	.argument('[peer]', 'only this one, by name or address')
	.action(async (peer: string | undefined, options: BgpOptions) => {
		const { peers } = await import('./cli/bgp.ts');
		await peers(peer, options);
	});
bgpOptions(bgp.command('routes'))
	.description('best routes; with a prefix or an address every path to it and why it is used or not')
	.argument('[prefix]', 'a prefix, or an address: then all that lead to it')
	.option('--in <peer>', 'what the peer tells us')
	.option('--out <peer>', 'what we tell the peer')
	.option('--all', 'every path, and why it is used or not')
	.action(async (prefix: string | undefined, options: RoutesOptions) => {
		const { routes } = await import('./cli/bgp.ts');
		await routes(prefix, options);
	});
bgpOptions(bgp.command('explain'))
	.description('which rule of a filter, or of BGP, decides what is taken from peers and told to them')
	.argument('<prefix>', 'a prefix, or an address: then all that lead to it')
	.argument('[peer]', 'only this one, by name or address')
	.action(async (prefix: string, peer: string | undefined, options: BgpOptions) => {
		const { explain } = await import('./cli/bgp.ts');
		await explain(prefix, peer, options);
	});
bgpOptions(bgp.command('refresh'))
	.description('ask a peer for all its routes again, without ending the session')
	.argument('<peer>', "name or address, '*' for all")
	.option('--out', 'tell it all of ours again instead')
	.action(async (peer: string, options: BgpOptions & { out?: boolean }) => {
		const { refresh } = await import('./cli/bgp.ts');
		await refresh(peer, options);
	});
bgpOptions(bgp.command('clear'))
	.description('end a session and start it anew; one that was kept down too')
	.argument('<peer>', "name or address, '*' for all")
	.option('-m, --message <text>', 'what the peer is told (RFC 9003)', '')
	.action(async (peer: string, options: BgpOptions & { message: string }) => {
		const { clear } = await import('./cli/bgp.ts');
		await clear(peer, options);
	});
bgpOptions(bgp.command('drain'))
	.description(
		'announce all with GRACEFUL_SHUTDOWN (RFC 8326), so that others find ways around this node before it goes',
	)
	.action(async (options: BgpOptions) => {
		const { drain } = await import('./cli/bgp.ts');
		await drain(true, options);
	});
bgpOptions(bgp.command('undrain'))
	.description('announce this node as ever')
	.action(async (options: BgpOptions) => {
		const { drain } = await import('./cli/bgp.ts');
		await drain(false, options);
	});

if (process.argv[2] === 'lab') {
	const { labCommand } = await import('./lab/command.ts');
	program.addCommand(labCommand());
} else {
	program.command('lab').description('nodes, pods and a router as network namespaces of this machine');
}

await program.parseAsync();
