import type { Bird, RouteQuery } from '../../bird/index.ts';
import type { ControlRoute, ControlRoutes } from './control-server.ts';

/**
 * What bird answers on its control socket beside its status: `GET /bgp/routes?table=&peer=&prefix=` (a RouteAnswer),
 * `GET /bgp/explain?prefix=&peer=` (an ExplainAnswer), `POST /bgp/refresh?peer=&direction=in|out`, `POST /bgp/clear?peer=&message=`,
 * `POST /bgp/drain?on=true|false` (a DrainAnswer). Status 400 when `ok` is false.
 */

const tables: readonly string[] = ['best', 'in', 'out', 'all'] satisfies RouteQuery['table'][];

/** `draining`: why the node is drained after all; '' when it is not. */
export type DrainAnswer =
	| { readonly ok: true; readonly draining: string }
	| { readonly ok: false; readonly error: string };

export const birdRoutes = (running: () => Bird | undefined, drain: (on: boolean) => DrainAnswer): ControlRoutes => {
	const route =
		(act: (bird: Bird, query: URLSearchParams) => { readonly ok: boolean }): ControlRoute =>
		async (query, response) => {
			const bird = running();
			const answer = bird === undefined ? { ok: false, error: 'the speaker is not configured yet' } : act(bird, query);
			response.writeHead(answer.ok ? 200 : 400, { 'content-type': 'application/json' });
			response.end(`${JSON.stringify(answer)}\n`);
		};
	/** By name or address. */
	const named = (bird: Bird, peer: string): string => {
		const { sessions } = bird.status();
		return sessions.find(({ name, address }) => name === peer || address === peer)?.name ?? peer;
	};
	return {
		'GET /bgp/routes': route((bird, query) => {
			const table = query.get('table') ?? 'best';
			const peer = query.get('peer');
			const prefix = query.get('prefix');
			if (!tables.includes(table))
				return { ok: false, error: `there is no table '${table}', but ${tables.join(', ')}` };
			const name = peer === null ? undefined : named(bird, peer);
			if (name !== undefined && !bird.status().sessions.some((session) => session.name === name)) {
				return { ok: false, error: `there is no peer ${peer}` };
			}
			return bird.routes({
				table: table as RouteQuery['table'],
				...(name !== undefined && { peer: name }),
				...(prefix !== null && { prefix }),
			});
		}),
		'GET /bgp/explain': route((bird, query) => {
			const peer = query.get('peer');
			const name = peer === null ? undefined : named(bird, peer);
			if (name !== undefined && !bird.status().sessions.some((session) => session.name === name)) {
				return { ok: false, error: `there is no peer ${peer}` };
			}
			return bird.explain(query.get('prefix') ?? '', name);
		}),
		'POST /bgp/refresh': route((bird, query) =>
			bird.refresh(query.get('peer') ?? '', query.get('direction') === 'out' ? 'out' : 'in'),
		),
		'POST /bgp/drain': route((_bird, query) => drain(query.get('on') !== 'false')),
		'POST /bgp/clear': route((bird, query) => bird.clear(query.get('peer') ?? '', query.get('message') ?? '')),
	};
};
