/** `npm run bench -- NAME`: runs test/bench/NAME.ts; without a name, lists them. */
import { globSync } from 'node:fs';
import { join } from 'node:path';

const folder = import.meta.dirname;
const names = globSync('*.ts', { cwd: folder })
	.map((file) => file.replace(/\.ts$/, ''))
	.filter((name) => name !== 'run')
	.sort();
const [name] = process.argv.slice(2);

if (name === undefined || !names.includes(name)) {
	console.error(`usage: npm run bench -- NAME, where NAME is one of: ${names.join(', ')}`);
	process.exit(2);
}
await import(join(folder, `${name}.ts`));
