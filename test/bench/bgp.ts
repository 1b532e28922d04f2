/**
 * Speakers beside each other: `npm run bench -- bgp [PREFIXES ...]` (0 for no table). For each size of table, with few and with many
 * attribute sets, an external peer announces it all at once (UPDATEs encoded beforehand, test/bench/lib/bgp-load.c): time
 * until the kernel's table has it, until a second peer was told, and, after the first peer is gone, until both are clean
 * again; processor time, most memory resident, UPDATEs sent on. Then internal peers with four routes each, from starting
 * the speaker to all routes in the kernel, the peers dialling or waiting to be dialled; and what that costs when idle.
 *
 * SPEAKERS (manx,BIRD,FRR,GoBGP; `manx (tree)` is the work tree unbundled), SESSIONS (200; 0 for none), ROUNDS (3),
 * MAXIMUM (4096; 65535 offers RFC 8654), NODE_ARGS for manx. GoBGP writes no kernel routes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { cleanUp, type Figures, netns, withSpeaker } from './lib/bgp-runs.ts';
import { manxAsShipped, others, peerAddress, type Speaker, speakerAS, usage } from './lib/bgp-speakers.ts';

const sizes = process.argv.slice(3).map(Number);
const prefixCounts = (sizes.length > 0 ? sizes : [10_000, 100_000]).filter((count) => count > 0);
const list = (name: string, otherwise: string): string[] => (process.env[name] ?? otherwise).split(',');
const sessionCounts = list('SESSIONS', '200')
	.map(Number)
	.filter((count) => count > 0);
const chosen = list('SPEAKERS', 'manx,BIRD,FRR,GoBGP');
const rounds = Number(process.env.ROUNDS ?? 3);
const maximum = process.env.MAXIMUM ?? '4096';
const routesPerSession = 4;

const tableOf = (speaker: Speaker, prefixes: number, sets: number): Promise<Figures> => {
	const neighbours = [
		{ address: peerAddress(0), asNumber: 65001 },
		{ address: '198.19.0.2', asNumber: 65002 },
	];
	const args = ['table', netns.out, String(prefixes), String(sets), maximum];
	return withSpeaker(speaker, neighbours, args, async ({ load, processes }) => {
		if ((await load.event('up')) === undefined) return {};
		// A daemon has been running for a while when it matters.
		await delay(1500);
		const before = usage(processes);
		load.tell('announce');
		const t0 = (await load.event('announce'))?.at ?? 0;
		const told = await load.event('told');
		const fib = speaker.fib ? await load.event('fib') : undefined;
		const learnt = usage(processes);
		await delay(1000);
		const rested = usage(processes);
		load.tell('kill');
		const t1 = (await load.event('kill'))?.at ?? 0;
		const untold = await load.event('told');
		const clean = speaker.fib ? await load.event('fib') : undefined;
		const after = usage(processes);
		return {
			'to FIB': fib && fib.at - t0,
			'to peer': told && told.at - t0,
			UPDATEs: told?.count,
			'FIB clean': clean && clean.at - t1,
			'peer clean': untold && untold.at - t1,
			'CPU s': learnt.cpu - before.cpu,
			'CPU gone': after.cpu - rested.cpu,
			'MB idle': before.resident,
			'MB peak': after.peak,
		};
	});
};

const sessionsOf = (speaker: Speaker, count: number, how: 'dial' | 'listen'): Promise<Figures> => {
	const neighbours = Array.from({ length: count }, (_, i) => ({ address: peerAddress(i), asNumber: speakerAS }));
	const args = ['sessions', String(count), String(routesPerSession), how];
	return withSpeaker(speaker, neighbours, args, async ({ load, processes, started }) => {
		const up = await load.event('up');
		const fib = speaker.fib ? await load.event('fib') : undefined;
		await delay(2000);
		const before = usage(processes);
		const idle = Number(process.env.IDLE ?? 10);
		await delay(idle * 1000);
		const after = usage(processes);
		return {
			'all up': up && up.at - started,
			'in FIB': fib && fib.at - started,
			'CPU s': before.cpu,
			'idle %': ((after.cpu - before.cpu) / idle) * 100,
			MB: after.resident,
			'MB peak': after.peak,
		};
	});
};

const median = (values: readonly (number | undefined)[]): number | undefined => {
	const known = values.filter((value) => value !== undefined).sort((a, b) => a - b);
	return known.length === values.length ? known[Math.floor(known.length / 2)] : undefined;
};

const text = (name: string, value: number | undefined): string =>
	(value === undefined ? '-' : value.toFixed(/MB|UPDATEs/.test(name) ? 0 : 2)).padStart(11);

const compare = async (
	title: string,
	speakers: readonly Speaker[],
	measure: (speaker: Speaker) => Promise<Figures>,
): Promise<void> => {
	const results = new Map<string, Figures[]>();
	for (let round = 0; round < rounds; round++) {
		for (const speaker of speakers) {
			results.set(speaker.name, [...(results.get(speaker.name) ?? []), await measure(speaker)]);
		}
	}
	const medians = new Map<string, Figures>();
	for (const [name, figures] of results) {
		const columns = Object.keys(figures[0] ?? {});
		medians.set(name, Object.fromEntries(columns.map((column) => [column, median(figures.map((one) => one[column]))])));
	}
	const columns = [...new Set([...medians.values()].flatMap((figures) => Object.keys(figures)))];
	console.log(`\n${title}`);
	console.log(`${''.padEnd(12)}${columns.map((column) => column.padStart(11)).join('')}`);
	for (const [name, figures] of medians) {
		console.log(`${name.padEnd(12)}${columns.map((column) => text(column, figures[column])).join('')}`);
	}
	const [ours, bird] = [medians.get('manx'), medians.get('BIRD')];
	if (ours === undefined || bird === undefined) return;
	const ratio = (column: string): number | undefined => {
		const [a, b] = [ours[column], bird[column]];
		return a === undefined || !b ? undefined : a / b;
	};
	console.log(`${'manx / BIRD'.padEnd(12)}${columns.map((column) => text('', ratio(column))).join('')}`);
};

try {
	const all = [...(chosen.includes('manx') ? [await manxAsShipped()] : []), ...others];
	const speakers = all.filter(({ name }) => chosen.includes(name));
	console.log(`medians of ${rounds} rounds; times in seconds`);
	for (const prefixes of prefixCounts) {
		for (const sets of [10, Math.ceil(prefixes / 4)]) {
			const title = `${prefixes} prefixes in ${sets} attribute sets`;
			await compare(title, speakers, (speaker) => tableOf(speaker, prefixes, sets));
		}
	}
	for (const count of sessionCounts) {
		for (const how of ['dial', 'listen'] as const) {
			const title = `${count} internal peers that ${how}, ${routesPerSession} prefixes each, from the start of the speaker`;
			await compare(title, speakers, (speaker) => sessionsOf(speaker, count, how));
		}
	}
} finally {
	await cleanUp();
}
