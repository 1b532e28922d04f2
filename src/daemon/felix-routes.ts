import type { Packet } from '../../felix/calc/index.ts';
import type { Felix } from '../../felix/felix.ts';
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

export const felixRoutes = (felix: Felix): ControlRoutes => ({ 'GET /explain': explainRoute(felix) });
