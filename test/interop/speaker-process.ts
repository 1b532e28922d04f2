/**
 * A speaker of ours as a process of its own, in whatever network namespace it is started: `speaker-process.ts CONFIG`
 * (a SpeakerConfig as JSON). Lines on stdin: `status` is answered with a line of JSON; `update JSON`; `clear MESSAGE`; `refresh in`
 * and `out`; `memory` writes to stderr what it holds; `block MS` keeps its main thread busy. SIGTERM stops it gracefully.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { SpeakerConfig } from '../../bird/config.ts';
import { createBird, type RouteQuery } from '../../bird/index.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import type { Logger } from '../../src/logging.ts';

const started = performance.now();
const logger = (fields: object): Logger => {
	const write =
		(level: string) =>
		(more: object, message: string): void => {
			const at = ((performance.now() - started) / 1000).toFixed(3);
			process.stderr.write(`${at} ${level} ${message} ${JSON.stringify({ ...fields, ...more })}\n`);
		};
	return {
		debug: write('debug'),
		info: write('info'),
		warn: write('warn'),
		error: write('error'),
		child: (more) => logger({ ...fields, ...more }),
	};
};

const log = logger({});
const config = JSON.parse(readFileSync(process.argv[2] as string, 'utf8')) as SpeakerConfig;
const kernel = openKernel({ log });
const bird = createBird({ config, kernel, log });

/** After a collection of garbage: what is really held. */
const memory = (): NodeJS.MemoryUsage => {
	setFlagsFromString('--expose-gc');
	(runInNewContext('gc') as () => void)();
	return process.memoryUsage();
};

/** Holds up the event loop for so many milliseconds. */
const block = (milliseconds: number): void => {
	const end = performance.now() + milliseconds;
	while (performance.now() < end);
};

createInterface({ input: process.stdin }).on('line', (line) => {
	if (line === 'status') process.stdout.write(`${JSON.stringify(bird.status())}\n`);
	else if (line.startsWith('routes '))
		process.stdout.write(`${JSON.stringify(bird.routes(JSON.parse(line.slice(7)) as RouteQuery))}\n`);
	else if (line === 'memory') process.stderr.write(`memory ${JSON.stringify(memory())}\n`);
	else if (line.startsWith('clear ')) bird.clear('*', line.slice(6));
	else if (line.startsWith('refresh ')) bird.refresh('*', line === 'refresh in' ? 'in' : 'out');
	else if (line.startsWith('block ')) block(Number(line.slice(6)));
	else if (line.startsWith('update ')) void bird.update(JSON.parse(line.slice(7)) as SpeakerConfig);
});
process.once('SIGTERM', () => {
	void bird.stop().then(() => process.exit(0));
});
await bird.start();
