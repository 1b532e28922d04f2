import type { ExplainAnswer, PeerSessionStatus, RouteAnswer, RouteLine } from '../../bird/index.ts';
import type { DrainAnswer } from '../daemon/bird-routes.ts';
import { table } from '../lab/table.ts';
import { inOrder, peersText, peerText } from './bgp-text.ts';
import { askDaemon, daemonSocket, readBody, type SocketOptions } from './control-client.ts';

/** `manx bgp`: sessions and routes of this node's speaker, and what an operator does to them. */

export type BgpOptions = SocketOptions & { readonly output: string };
export type RoutesOptions = BgpOptions & {
	readonly in?: string;
	readonly out?: string;
	readonly all?: boolean;
};

const fail = (reason: string): undefined => {
	console.error(`manx bgp: ${reason}`);
	process.exitCode = 2;
};

const ask = async (options: BgpOptions, path: string, method: 'GET' | 'POST' = 'GET'): Promise<unknown> => {
	if (!['text', 'json'].includes(options.output)) return fail(`There is no output '${options.output}': text or json.`);
	const socket = daemonSocket('bird', options);
	if ('error' in socket) return fail(socket.error);
	const answer = await askDaemon(socket.path, path, { daemon: 'bird', method });
	if (typeof answer === 'string') return fail(answer);
	const body = JSON.parse(await readBody(answer)) as { error?: string; reason?: string };
	if (answer.statusCode !== 200) return fail(`${body.error ?? body.reason ?? `status ${answer.statusCode}`}.`);
	return body;
};

export const peers = async (peer: string | undefined, options: BgpOptions): Promise<void> => {
	const status = (await ask(options, '/status')) as { sessions?: readonly PeerSessionStatus[] } | undefined;
	if (status === undefined) return;
	const all = status.sessions ?? [];
	const sessions = all.filter(({ name, address }) => peer === undefined || name === peer || address === peer);
	if (peer !== undefined && sessions.length === 0) {
		fail(`there is no peer ${peer}; there are ${all.map(({ name }) => name).join(', ') || 'none'}.`);
		return;
	}
	const [one] = sessions;
	const text = (): string => (peer !== undefined && one ? peerText(one, Date.now()) : peersText(sessions, Date.now()));
	console.log(options.output === 'json' ? JSON.stringify(sessions, null, 2) : text());
};

type Explained = Extract<ExplainAnswer, { ok: true }>['prefixes'];

const useMark = { best: '*', multipath: '=', none: '' } as const;

export const routesText = (routes: readonly RouteLine[]): string => {
	if (routes.length === 0) return 'There are no such routes.';
	const reasons = routes.some(({ reason }) => reason !== undefined);
	const rows = routes.map((route) => [
		useMark[route.use ?? 'none'],
		route.prefix,
		route.nextHop,
		route.peer,
		route.localPref === undefined ? '' : String(route.localPref),
		route.med === undefined ? '' : String(route.med),
		route.asPath === '' ? `(${route.origin})` : `${route.asPath} (${route.origin})`,
		route.communities.join(' '),
		...(reasons ? [`${route.stale ? 'stale; ' : ''}${route.reason ?? ''}`] : [route.stale ? 'stale' : '']),
	]);
	const text = table(
		['', 'PREFIX', 'NEXT HOP', 'PEER', 'PREF', 'MED', 'PATH', 'COMMUNITIES', reasons ? 'WHY' : ''],
		rows,
	);
	return routes.some(({ use }) => use !== undefined) ? `${text}\n\n* best, = used beside it` : text;
};

export const routes = async (prefix: string | undefined, options: RoutesOptions): Promise<void> => {
	const { in: from, out: to, all } = options;
	if ([from, to, all].filter((one) => one !== undefined).length > 1) {
		fail('--in, --out and --all are different tables: give one.');
		return;
	}
	// One prefix: every path to it, and why.
	const which = from !== undefined ? 'in' : to !== undefined ? 'out' : all || prefix !== undefined ? 'all' : 'best';
	const peer = from ?? to;
	const query = new URLSearchParams({
		table: which,
		...(peer !== undefined && { peer }),
		...(prefix !== undefined && { prefix }),
	});
	const answer = (await ask(options, `/bgp/routes?${query}`)) as Extract<RouteAnswer, { ok: true }> | undefined;
	if (answer === undefined) return;
	// For an address the daemon has put the most specific first.
	const found = prefix === undefined ? inOrder(answer.routes) : answer.routes;
	console.log(options.output === 'json' ? JSON.stringify(found, null, 2) : routesText(found));
};

export const explainText = (prefixes: Explained): string => {
	if (prefixes.length === 0) return 'Nobody tells such a prefix, and it is none of ours.';
	const verdict = (accept: boolean, yes: string, no: string): string => (accept ? yes : no);
	return prefixes
		.map(({ prefix, imports, exports }) => {
			const rows = [
				...imports.map((line) => [
					'from',
					line.peer,
					verdict(line.accept, 'taken', 'rejected'),
					line.use === undefined ? line.reason : `${line.reason}; ${line.use}: ${line.useReason}`,
				]),
				...exports.map((line) => ['to', line.peer, verdict(line.accept, 'told', 'not told'), line.reason]),
			];
			return `${prefix}\n${rows.length === 0 ? 'There are no peers.' : table(['', 'PEER', '', 'WHY'], rows)}`;
		})
		.join('\n\n');
};

export const explain = async (prefix: string, peer: string | undefined, options: BgpOptions): Promise<void> => {
	const query = new URLSearchParams({ prefix, ...(peer !== undefined && { peer }) });
	const answer = (await ask(options, `/bgp/explain?${query}`)) as { readonly prefixes: Explained } | undefined;
	if (answer === undefined) return;
	console.log(options.output === 'json' ? JSON.stringify(answer.prefixes, null, 2) : explainText(answer.prefixes));
};

const done = (options: BgpOptions, text: string): void => {
	console.log(options.output === 'json' ? JSON.stringify({ ok: true }) : text);
};

export const refresh = async (peer: string, options: BgpOptions & { readonly out?: boolean }): Promise<void> => {
	const query = new URLSearchParams({ peer, direction: options.out ? 'out' : 'in' });
	if ((await ask(options, `/bgp/refresh?${query}`, 'POST')) === undefined) return;
	done(options, options.out ? 'All routes are told again.' : 'The peer is asked for all its routes.');
};

/** Announces all with GRACEFUL_SHUTDOWN (RFC 8326), or no more. */
export const drain = async (on: boolean, options: BgpOptions): Promise<void> => {
	const answer = (await ask(options, `/bgp/drain?on=${on}`, 'POST')) as Extract<DrainAnswer, { ok: true }> | undefined;
	if (answer === undefined) return;
	const { draining } = answer;
	const text = on
		? 'Peers are told that this node is about to leave: once they have other ways, it can go without a packet lost. It stays so until manx bgp undrain, or the next boot.'
		: draining === ''
			? 'This node is announced as ever.'
			: `This node stays drained: ${draining}.`;
	console.log(options.output === 'json' ? JSON.stringify(answer) : text);
};

export const clear = async (peer: string, options: BgpOptions & { readonly message: string }): Promise<void> => {
	const query = new URLSearchParams({ peer, message: options.message });
	if ((await ask(options, `/bgp/clear?${query}`, 'POST')) === undefined) return;
	done(options, 'The session was ended and starts anew.');
};
