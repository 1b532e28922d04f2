import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Compiles the CNI plugin `manx` (shim.c) into `outFile`, statically, so that it runs on any host. A file built from
 * the same source is kept: it carries the source's hash. Replaced by rename, so a running plugin is not disturbed.
 */
export const buildShim = (outFile: string): { readonly ok: true } | { readonly ok: false; readonly error: string } => {
	const source = join(import.meta.dirname, 'shim.c');
	const hash = createHash('sha256').update(readFileSync(source)).digest('hex');
	if (holds(outFile, `manx-shim-source:${hash}`)) return { ok: true };
	mkdirSync(dirname(outFile), { recursive: true });
	const temp = `${outFile}.${process.pid}.tmp`;
	const result = spawnSync(
		'gcc',
		['-Os', '-static', '-s', '-Wall', '-Wextra', '-Werror', `-DMANX_SHIM_SOURCE="${hash}"`, '-o', temp, source],
		{ encoding: 'utf8' },
	);
	if (result.status === 0) {
		renameSync(temp, outFile);
		return { ok: true };
	}
	rmSync(temp, { force: true });
	const why = result.error?.message ?? result.stderr.trim();
	return {
		ok: false,
		error: `Compiling the CNI plugin (${source}) failed: ${why}. It needs gcc and libc.a: apt-get install gcc libc6-dev.`,
	};
};

const holds = (file: string, mark: string): boolean => {
	try {
		return readFileSync(file).includes(mark);
	} catch {
		return false;
	}
};
