import type { Packet } from '../../felix/calc/index.ts';
import type { Felix } from '../../felix/felix.ts';
import type { Flow } from '../../felix/flows.ts';
import type { ControlRoute, ControlRoutes } from './control-server.ts';

/** What felix answers on its control socket beside its status. */

const protocols: readonly string[] = ['TCP', 'UDP', 'SCTP', 'ICMP'] satisfies Packet['protocol'][];

/** `GET /explain?source=&destination=&protocol=&port=`: an ExplainResult; status 400 when `ok` is false. */
const explainRoute =
	(felix: Felix): ControlRoute =>
	async (query, response) => {
		const protocol = (query.get('protocol') ?? 'TCP').toUpperCase();
		const port = query.get('port');
		const result = protocols.includes(protocol)
			? await felix.explain({
					source: query.get('source') ?? '',
					destination: query.get('destination') ?? '',
					protocol: protocol as Packet['protocol'],
					...(port !== null && { port: /^\d+$/.test(port) ? Number(port) : port }),
				})
			: { ok: false, reason: `There is no protocol '${protocol}' here, but ${protocols.join(', ')}.` };
		response.writeHead(result.ok ? 200 : 400, { 'content-type': 'application/json' });
		response.end(`${JSON.stringify(result)}\n`);
	};

/** A line of `GET /flows`: a decision, or how many were lost since the line before. */
export type FlowLine = Flow | { readonly lost: number };

/** Lines a reader may be behind before what it does not take is counted as lost. */
const linesBehind = 10_000;

/**
 * `GET /flows?denied=true&follow=true`: a FlowLine a line, those kept and, to be followed, those to come. 503 while
 * nothing is heard of the kernel.
 */
const flowsRoute =
	({ flows }: Felix): ControlRoute =>
	async (query, response) => {
		if (flows.problem() !== '') {
			response.writeHead(503, { 'content-type': 'application/json' });
			response.end(`${JSON.stringify({ ok: false, reason: flows.problem() })}\n`);
			return;
		}
		const deniedOnly = query.get('denied') === 'true';
		const kept = flows.kept();
		response.writeHead(200, { 'content-type': 'application/x-ndjson' });
		let behind = 0;
		let lost = flows.lost();
		const write = (line: FlowLine): void => {
			behind++;
			response.write(`${JSON.stringify(line)}\n`, () => behind--);
		};
		const tellLost = (): void => {
			if (lost > 0) write({ lost });
			lost = 0;
		};
		const tell = (flow: Flow): void => {
			if (deniedOnly && flow.action !== 'denied') return;
			if (behind >= linesBehind) {
				lost++;
				return;
			}
			tellLost();
			write(flow);
		};
		for (const flow of kept) tell(flow);
		tellLost();
		if (query.get('follow') !== 'true') {
			response.end();
			return;
		}
		response.flushHeaders();
		const stop = flows.follow(tell, (count) => {
			lost += count;
		});
		response.once('close', stop);
	};

export const felixRoutes = (felix: Felix): ControlRoutes => ({
	'GET /explain': explainRoute(felix),
	'GET /flows': flowsRoute(felix),
});
