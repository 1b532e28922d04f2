/**
 * `node test/fuzz/fuzz.ts [COUNT] [SEED] [FROM]`: random messages to sessions in this process; 10,000,000 by default, a new seed
 * each time. Exits with 1 when a session did what it should not have. A case is played again with COUNT 1 and FROM its number.
 */
import { fuzz } from './run.ts';

const [count = 10_000_000, seed = Date.now() >>> 0, from = 0] = process.argv.slice(2).map(Number);
console.log(`${count} messages, seed ${seed}, from ${from}, Node ${process.version}`);
const { failures, seconds, memory, slowest, ...rest } = await fuzz({ count, seed, from, progress: console.log });
console.log(
	`${rest.cases} messages in ${seconds.toFixed(1)} s: ${Math.round(rest.cases / seconds)} a second; ${rest.ended} sessions ended as they had to`,
);
console.log(
	`memory ${memory.early} MB after a tenth, ${memory.end} MB at the end; at most ${rest.mostPrefixes} prefixes; ` +
		`slowest case ${slowest.milliseconds.toFixed(1)} ms (${slowest.index}); ${rest.logLines} log lines; ${failures.length} failures`,
);
for (const { index, what, message } of failures) console.log(`case ${index}: ${what}\n  ${message}`);
process.exitCode = failures.length === 0 ? 0 : 1;
