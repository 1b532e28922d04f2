import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Compiles a C program beside this file; its path. Throws, with what to install, where there is no compiler. */
export const compile = (name: string, folder: string): string => {
	const program = join(folder, name);
	try {
		execFileSync('gcc', ['-O2', '-Wall', '-o', program, join(import.meta.dirname, `${name}.c`), '-lpthread']);
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
		throw new Error('gcc was not found: install it (apt-get install gcc libc6-dev).');
	}
	return program;
};
