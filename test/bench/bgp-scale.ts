/**
 * Many sessions on one speaker: `npm run bench -- bgp-scale [SESSIONS ...]` (100, 500 and 1,000). Internal peers, each with
 * its routes, that dial; we are a node among them (mesh: what they say goes to the kernel, what is ours to all of them),
 * or their reflector. Times from the start of the process: all sessions up, all routes in the kernel; then processor
 * time and memory at rest; one new prefix (of ours in a mesh, of a client at the reflector) until all the others were told;
 * a peer that falls silent until its routes are gone, everywhere, its hold time of 9 s included.
 *
 * TOPOLOGIES (mesh,reflector), SPEAKERS (manx; BIRD and FRR as reflectors), ROUTES each (1), IDLE seconds (10), NODE_ARGS.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { cleanUp, type Figures, withSpeaker } from './lib/bgp-runs.ts';
import {
	announceMore,
	manxAsShipped,
	others,
	peerAddress,
	type Speaker,
	speakerAS,
	type Topology,
	usage,
} from './lib/bgp-speakers.ts';

const counts = process.argv.slice(3).map(Number);
const list = (name: string, otherwise: string): string[] => (process.env[name] ?? otherwise).split(',');
const topologies = list('TOPOLOGIES', 'mesh,reflector') as Topology[];
const chosen = list('SPEAKERS', 'manx');
const routes = process.env.ROUTES ?? '1';
const idle = Number(process.env.IDLE ?? 10);
const watched = '20.250.0.0/26';

const measure = (speaker: Speaker, count: number, topology: Topology): Promise<Figures> => {
	const neighbours = Array.from({ length: count }, (_, i) => ({ address: peerAddress(i), asNumber: speakerAS }));
	const args = ['scale', String(count), routes, 'dial'];
	return withSpeaker(
		speaker,
		neighbours,
		args,
		async ({ load, processes, started, folder }) => {
			const up = await load.event('up');
			const fib = await load.event('fib');
			// What is to be told is told.
			await delay(5000);
			const busy = usage(processes);
			await delay(idle * 1000);
			const rested = usage(processes);
			let from: number;
			if (topology === 'mesh') {
				load.tell('expect');
				await load.event('expect');
				from = Number(process.hrtime.bigint()) / 1e9;
				announceMore(folder, watched);
			} else {
				load.tell('announce');
				from = (await load.event('announce'))?.at ?? 0;
				await load.event('fib');
			}
			const told = await load.event('told');
			load.tell('mute');
			const silent = await load.event('mute');
			const gone = await load.event('fib');
			const untold = topology === 'mesh' ? gone : await load.event('told');
			const after = usage(processes);
			return {
				'all up': up && up.at - started,
				'in FIB': fib && fib.at - started,
				'CPU s': busy.cpu,
				'idle %': ((rested.cpu - busy.cpu) / idle) * 100,
				MB: rested.resident,
				'MB peak': after.peak,
				'told ms': told && (told.at - from) * 1000,
				'gone s': silent && gone && gone.at - silent.at,
				'untold s': silent && untold && untold.at - silent.at,
			};
		},
		topology,
	);
};

const text = (name: string, value: number | undefined): string =>
	(value === undefined ? '-' : value.toFixed(/MB|ms/.test(name) ? 0 : 2)).padStart(10);

try {
	const all = [...(chosen.includes('manx') ? [await manxAsShipped()] : []), ...others];
	const speakers = all.filter(({ name }) => chosen.includes(name));
	for (const topology of topologies) {
		for (const count of counts.length > 0 ? counts : [100, 500, 1_000]) {
			console.log(`\n${topology}, ${count} sessions, ${routes} prefixes each`);
			for (const [i, speaker] of speakers.entries()) {
				if (topology === 'mesh' && speaker.name !== 'manx') continue;
				const figures = await measure(speaker, count, topology);
				const columns = Object.keys(figures);
				if (i === 0) console.log(`${''.padEnd(12)}${columns.map((column) => column.padStart(10)).join('')}`);
				console.log(`${speaker.name.padEnd(12)}${columns.map((column) => text(column, figures[column])).join('')}`);
			}
		}
	}
} finally {
	await cleanUp();
}
