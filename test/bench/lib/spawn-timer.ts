import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inNetns } from '../../../src/kernel/netns.ts';
import { compile } from './compile.ts';

/** What a program costs when it is started by hand: from spawn to exit, by a small parent written in C. */

export type Command = { readonly file: string; readonly args: readonly string[]; readonly input: string };

export type SpawnTimer = {
	/** Milliseconds of all commands, run one after the other; throws when one fails. */
	readonly time: (commands: readonly Command[]) => Promise<number>;
	readonly close: () => void;
};

export const startSpawnTimer = (netns: string, folder: string): SpawnTimer => {
	const program = compile('spawn-timer', folder);
	const child = inNetns(`/run/netns/${netns}`, () => spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] }));
	const answers = createInterface(child.stdout)[Symbol.asyncIterator]();
	return {
		time: async (commands) => {
			const lines = commands.map(({ file, args, input }, i) => {
				const path = join(folder, `input${i}`);
				writeFileSync(path, input);
				return `${[path, file, ...args].join(' ')}\n`;
			});
			child.stdin.write(lines.join(''));
			let total = 0;
			for (const { file, args, input } of commands) {
				const [status, nanoseconds] = String((await answers.next()).value)
					.split(' ')
					.map(Number) as [number, number];
				if (status !== 0)
					throw new Error(`${file} ${args.join(' ')} failed with status ${status}; its input:\n${input}`);
				total += nanoseconds / 1e6;
			}
			return total;
		},
		close: () => child.stdin.end(),
	};
};
