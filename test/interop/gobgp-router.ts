import { output, type Process, until, type Wire } from './harness.ts';

/** GoBGP as the router in a namespace, with a configuration as a test wants it. */

export type GobgpRouter = Process & {
	readonly gobgp: (command: string) => Promise<string>;
	/** Replaces the neighbours, live. */
	readonly reconfigure: (neighbours: readonly GobgpNeighbour[]) => void;
	readonly established: (address: string) => Promise<boolean>;
};

export type GobgpNeighbour = {
	readonly address: string;
	readonly asNumber?: number;
	/** Lines of `neighbors.config`. */
	readonly config?: string;
	/** More tables below the neighbour. */
	readonly tables?: string;
	/** Lines in each address family. */
	readonly family?: string;
};

export type GobgpOptions = {
	readonly asNumber: number;
	readonly routerId: string;
	/** Where it listens. */
	readonly addresses: readonly string[];
	readonly neighbours: readonly GobgpNeighbour[];
	readonly netns?: string;
	readonly args?: readonly string[];
};

const neighbourText = ({
	address,
	asNumber = 64512,
	config = '',
	tables = '',
	family = '',
}: GobgpNeighbour): string => `
[[neighbors]]
[neighbors.config]
neighbor-address = "${address}"
peer-as = ${asNumber}
${config}
[neighbors.timers.config]
connect-retry = 5
idle-hold-time-after-reset = 1
${tables}
${['ipv4-unicast', 'ipv6-unicast']
	.map(
		(name) => `[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "${name}"
${family}`,
	)
	.join('\n')}
`;

export const startGobgp = async (wire: Wire, options: GobgpOptions): Promise<GobgpRouter> => {
	const { netns = wire.router, asNumber, routerId, addresses, args = [] } = options;
	const write = (neighbours: readonly GobgpNeighbour[]): string =>
		wire.file(
			`gobgpd-${netns}.toml`,
			`[global.config]
as = ${asNumber}
router-id = "${routerId}"
local-address-list = [${addresses.map((address) => `"${address}"`).join(', ')}]
${neighbours.map(neighbourText).join('\n')}`,
		);
	const gobgp = (command: string): Promise<string> =>
		output('ip', ['netns', 'exec', netns, 'gobgp', ...command.split(' ')]).catch(() => '');
	const file = write(options.neighbours);
	const process = wire.start(netns, 'gobgpd', ['-f', file, '--api-hosts', '127.0.0.1:50051', ...args]);
	await until('gobgpd answers', async () => (await gobgp('global')).includes(String(asNumber)));
	return {
		...process,
		gobgp,
		reconfigure: (neighbours) => {
			write(neighbours);
			process.child.kill('SIGHUP');
		},
		established: async (address) => /ESTABLISHED/.test(await gobgp(`neighbor ${address}`)),
	};
};
