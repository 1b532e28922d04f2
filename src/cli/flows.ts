import type { Flow, FlowEnd } from '../../felix/flows.ts';
import type { FlowLine } from '../daemon/felix-routes.ts';
import { askDaemon, felixSocket, readBody, type SocketOptions } from './control-client.ts';

/** `manx flows`: what this node's policies decided on new connections; with --follow until it is interrupted. */

export type FlowsOptions = SocketOptions & {
	readonly denied?: boolean;
	readonly follow?: boolean;
	readonly output: string;
};

const endText = ({ address, pod }: FlowEnd): string => (pod === undefined ? address : `${pod} (${address})`);

export const flowText = ({ time, action, source, destination, protocol, port, reason }: Flow): string => {
	const what = port === undefined ? protocol : `${protocol} ${port}`;
	return `${time}  ${action === 'denied' ? 'DENIED ' : 'allowed'}  ${endText(source)} -> ${endText(destination)}  ${what}  ${reason}`;
};

const lossText = (count: number): string =>
	`... ${count} more were told by the kernel faster than felix took them, and are lost`;

export const flows = async (options: FlowsOptions): Promise<void> => {
	const fail = (reason: string): void => {
		console.error(`manx flows: ${reason}`);
		process.exitCode = 2;
	};
	if (!['text', 'json'].includes(options.output)) {
		fail(`There is no output '${options.output}': text or json.`);
		return;
	}
	const socket = felixSocket(options);
	if ('error' in socket) {
		fail(socket.error);
		return;
	}
	const query = new URLSearchParams({
		...(options.denied && { denied: 'true' }),
		...(options.follow && { follow: 'true' }),
	});
	const answer = await askDaemon(socket.path, `/flows?${query}`);
	if (typeof answer === 'string') {
		fail(answer);
		return;
	}
	if (answer.statusCode !== 200) {
		fail((JSON.parse(await readBody(answer)) as { reason: string }).reason);
		return;
	}
	const show = (text: string): void => {
		const line = JSON.parse(text) as FlowLine;
		if (options.output === 'json') console.log(text);
		else if ('lost' in line) console.log(lossText(line.lost));
		else console.log(flowText(line));
	};
	let rest = '';
	try {
		for await (const chunk of answer.setEncoding('utf8')) {
			const lines = `${rest}${String(chunk)}`.split('\n');
			rest = lines.pop() ?? '';
			for (const line of lines) show(line);
		}
	} catch {
		fail('felix ended.');
		return;
	}
	if (options.output === 'text' && !options.follow) {
		console.error('The kernel tells of ten new connections a second and chain; counters of the rules tell of all.');
	}
};
