import type { ExplainedDirection, ExplainedEnd, ExplainResult, Explanation } from '../../felix/explain.ts';
import { askDaemon, felixSocket, readBody, type SocketOptions } from './control-client.ts';

/** `manx explain SOURCE DESTINATION`: exit status 0 when allowed, 1 when denied, 2 when it cannot be told. */

export type Target = { readonly host: string; readonly protocol: string; readonly port?: string };

/** Takes `ns/pod:80/tcp`, `10.0.0.1:80`, `[fd00::1]:53/UDP`, `ns/pod:http`; without a port, or `:icmp`, a ping is meant. */
export const parseTarget = (text: string): Target => {
	const match =
		/^\[(?<v6>[^\]]*)\](?::(?<rest6>.*))?$/.exec(text) ??
		/^(?<host>[^:]*)(?::(?<rest>[^:]*))?$/.exec(text) ??
		/^(?<bare>.*)$/.exec(text);
	const groups = match?.groups ?? {};
	const host = groups.v6 ?? groups.host ?? groups.bare ?? '';
	const rest = groups.rest6 ?? groups.rest ?? '';
	if (rest === '' || rest.toLowerCase() === 'icmp') return { host, protocol: 'ICMP' };
	const [port = '', ...more] = rest.split('/');
	return { host, protocol: more.join('/').toUpperCase() || 'TCP', ...(port !== '' && { port }) };
};

const endText = ({ address, pod, node, place }: ExplainedEnd): string => {
	const where = place === 'elsewhere' ? (node === undefined ? '' : `, node ${node}`) : `, ${place}`;
	return pod === undefined ? `${address}${place === 'elsewhere' ? '' : ` (${place})`}` : `${pod} (${address}${where})`;
};

const directionLines = (one: ExplainedDirection): string[] => {
	const counter = one.packets === undefined ? 'not in the kernel yet' : `${one.packets} packets so far`;
	const together = one.together === undefined ? '' : ` (${one.together} rules in one)`;
	return [
		`  ${one.direction.padEnd(8)}${one.pod}: ${one.text}`,
		...(one.outcome === 'allowed'
			? [`          policies ${one.policies.join(', ')}`, `          rule: ${one.rule}`]
			: []),
		`          chain ${one.chain}, rule ${one.number}${together}: ${counter}`,
	];
};

/** No pod of this node has a part in it, nor the node itself. */
const isElsewhere = ({ source, destination }: Explanation): boolean =>
	source.place === 'elsewhere' && destination.place === 'elsewhere';

export const explanationText = (node: string, one: Explanation): string => {
	const what = one.port === undefined ? one.protocol : `${one.protocol} port ${one.port}`;
	return [
		`${endText(one.source)} -> ${endText(one.destination)}, ${what}, IPv${one.family}`,
		isElsewhere(one)
			? `  NOT JUDGED on ${node}: neither end is a pod of this node; ask where one is`
			: `  ${one.allowed ? 'ALLOWED' : 'DENIED'} on ${node}`,
		`  route   ${one.route}`,
		...one.directions.flatMap(directionLines),
		...one.notes.map((note) => `  note    ${note}`),
	].join('\n');
};

export type ExplainOptions = SocketOptions & { readonly output: string };

export const explain = async (source: string, destination: string, options: ExplainOptions): Promise<void> => {
	const fail = (reason: string): void => {
		console.error(`manx explain: ${reason}`);
		process.exitCode = 2;
	};
	if (!['text', 'json'].includes(options.output)) return fail(`There is no output '${options.output}': text or json.`);
	const socket = felixSocket(options);
	if ('error' in socket) return fail(socket.error);
	const target = parseTarget(destination);
	const query = new URLSearchParams({
		source: source.replace(/^\[(.*)\]$/, '$1'),
		destination: target.host,
		protocol: target.protocol,
		...(target.port !== undefined && { port: target.port }),
	});
	const answer = await askDaemon(socket.path, `/explain?${query}`);
	if (typeof answer === 'string') return fail(answer);
	const result = JSON.parse(await readBody(answer)) as ExplainResult;
	if (!result.ok) return fail(result.reason);
	const { node, explanations } = result;
	if (options.output === 'json') console.log(JSON.stringify(result, null, 2));
	else console.log(explanations.map((one) => explanationText(node, one)).join('\n\n'));
	process.exitCode = explanations.every(isElsewhere) ? 2 : explanations.every(({ allowed }) => allowed) ? 0 : 1;
};
