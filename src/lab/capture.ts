import { spawn } from 'node:child_process';
import { createPcapReader, type Frame, isEncapsulated } from './pcap.ts';
import { fabricNetns, type Lab } from './plan.ts';
import { inNetns, LabError, until } from './shell.ts';

/** What passed over the fabric while it was watched. */
export type FabricCapture = {
	/** `SRC > DST` of every echo request seen. */
	readonly echoes: ReadonlySet<string>;
	readonly frames: () => number;
	/** Frames from a node that hold a packet inside a packet. */
	readonly encapsulated: readonly Frame[];
	readonly stop: () => Promise<void>;
};

/** Starts `tcpdump` and returns once it listens; `onData` gets its standard output. */
export const startTcpdump = async (
	netns: string,
	args: readonly string[],
	onData: (piece: Buffer) => void,
): Promise<() => Promise<void>> => {
	const [program, argv] = inNetns(netns, ['tcpdump', '-n', '--immediate-mode', ...args]);
	const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
	let said = '';
	child.stderr.setEncoding('utf8').on('data', (text: string) => {
		said += text;
	});
	child.stdout.on('data', onData);
	const closed = new Promise<void>((resolve) => {
		child.on('close', () => resolve());
		child.on('error', () => resolve());
	});
	const problem = await until(
		10_000,
		async () => (/listening on/.test(said) ? undefined : child.exitCode === null ? 'no answer' : said.trim()),
		5,
	);
	if (problem !== undefined) {
		child.kill('SIGKILL');
		throw new LabError(`tcpdump in ${netns} does not start: ${problem}`);
	}
	return async () => {
		child.kill('SIGTERM');
		await closed;
	};
};

/** Watches every segment of the fabric. TCP is left out: no tunnel runs over it, and the lab may be under load. */
export const watchFabric = async (lab: Lab): Promise<FabricCapture> => {
	const echoes = new Set<string>();
	const encapsulated: Frame[] = [];
	const nodeAddresses = new Set(lab.machines.flatMap(({ addresses }) => addresses));
	let frames = 0;
	const onFrame = (frame: Frame) => {
		frames++;
		if (frame.isEchoRequest) echoes.add(`${frame.src} > ${frame.dst}`);
		if (isEncapsulated(frame) && nodeAddresses.has(frame.src) && encapsulated.length < 100) encapsulated.push(frame);
	};
	const stops = await Promise.all(
		lab.segments.map(({ bridge }) =>
			startTcpdump(
				fabricNetns(lab.name),
				['-i', bridge, '-s', '128', '-B', '8192', '-U', '-w', '-', 'not tcp'],
				createPcapReader(onFrame),
			),
		),
	);
	return {
		echoes,
		frames: () => frames,
		encapsulated,
		stop: async () => {
			await Promise.all(stops.map((stop) => stop()));
		},
	};
};
