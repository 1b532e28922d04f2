import { createChains } from './chains.ts';
import type { Backend, Family, Run, ToolError } from './types.ts';

/**
 * Takes owned chains, and the rules that lead to them, out of a backend that is not used (any more). Looks first, since
 * iptables-legacy makes its tables by being asked; returns whether there were any, and what went wrong.
 */
export const removeLeftovers = async (options: {
	readonly family: Family;
	readonly backend: Backend;
	readonly prefix: string;
	readonly run: Run;
}): Promise<{ readonly found: boolean; readonly error?: ToolError }> => {
	const { family, backend, prefix, run } = options;
	const program = family === 4 ? 'iptables' : 'ip6tables';
	if (backend === 'legacy') {
		const tables = await run('cat', [`/proc/net/${family === 4 ? 'ip' : 'ip6'}_tables_names`]);
		if (tables.code !== 0 || tables.stdout.trim() === '') return { found: false };
	}
	const { code, stdout } = await run(`${program}-${backend}-save`, []);
	if (code !== 0 || !stdout.includes(`:${prefix}`)) return { found: false };
	const error = await createChains({ family, backend, prefix, run }).remove();
	return { found: true, ...(error !== undefined && { error }) };
};
