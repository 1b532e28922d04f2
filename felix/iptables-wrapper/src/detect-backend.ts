/**
 * Which of iptables-legacy and iptables-nft the host's other programs use. Both keep rules of their own in the kernel,
 * and both see every packet: rules in the wrong one are not seen by those who look at the other.
 */
import { targetOf } from './rule.ts';
import { parseSave } from './save.ts';
import type { Backend, Family, Run } from './types.ts';

export type BackendChoice = {
	readonly backend: Backend;
	/** A sentence for logs and status. */
	readonly reason: string;
	/** Whether rules of others were found in both. */
	readonly mixed: boolean;
};

type Found = {
	readonly usable: boolean;
	readonly rules: number;
	/** Chains of Kubernetes and Docker, whose programs made their own choice: one outweighs any number of rules. */
	readonly telling: number;
};

const tellingChain = /^(?:KUBE-|DOCKER(?:-|$)|CNI-)/;

const tryRun = async (run: Run, file: string, args: readonly string[]): ReturnType<Run> => {
	try {
		return await run(file, args);
	} catch (cause) {
		return { code: 127, stdout: '', stderr: String(cause) };
	}
};

const countForeign = (text: string, ownPrefix: string): Pick<Found, 'rules' | 'telling'> => {
	let rules = 0;
	let telling = 0;
	for (const chains of parseSave(text).values()) {
		for (const [name, chain] of chains) {
			if (name.startsWith(ownPrefix)) continue;
			if (tellingChain.test(name)) telling++;
			rules += chain.rules.filter((rule) => !targetOf(rule.text)?.startsWith(ownPrefix)).length;
		}
	}
	return { rules, telling };
};

const unusable: Found = { usable: false, rules: 0, telling: 0 };

const lookAt = async (run: Run, family: Family, backend: Backend, ownPrefix: string): Promise<Found> => {
	const program = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}`;
	if (backend === 'legacy') {
		// Saving would load the tables' modules; without tables there is nothing to see.
		const names = await tryRun(run, 'cat', [family === 4 ? '/proc/net/ip_tables_names' : '/proc/net/ip6_tables_names']);
		if (names.code !== 0 || names.stdout.trim() === '') {
			const { code } = await tryRun(run, `${program}-restore`, ['--version']);
			return { ...unusable, usable: code === 0 };
		}
	}
	const { code, stdout } = await tryRun(run, `${program}-save`, []);
	return code === 0 ? { usable: true, ...countForeign(stdout, ownPrefix) } : unusable;
};

/**
 * Picks a backend for one family. Rules and chains whose names begin with `ownPrefix`, and rules that lead to them, do
 * not count. Runs `cat` of /proc/net/ip_tables_names and the two iptables-save programs; writes nothing.
 */
export const detectBackend = async (run: Run, family: Family, ownPrefix = 'MANX-'): Promise<BackendChoice> => {
	const [legacy, nft] = await Promise.all([
		lookAt(run, family, 'legacy', ownPrefix),
		lookAt(run, family, 'nft', ownPrefix),
	]);
	const mixed = legacy.rules > 0 && nft.rules > 0;
	const counts = `legacy has ${legacy.rules} rules of others, nft ${nft.rules}`;
	const choose = (backend: Backend, why: string): BackendChoice => ({
		backend,
		mixed,
		reason: `iptables-${backend} for IPv${family}: ${why} (${counts}).`,
	});
	if (!nft.usable && !legacy.usable) return choose('nft', 'neither backend works; install iptables');
	if (!nft.usable) return choose('legacy', 'iptables-nft does not work here');
	if (!legacy.usable) return choose('nft', 'iptables-legacy does not work here');
	if (legacy.telling > 0 !== nft.telling > 0) {
		return choose(legacy.telling > 0 ? 'legacy' : 'nft', 'the chains of Kubernetes or Docker are there');
	}
	if (legacy.rules > nft.rules) return choose('legacy', 'most rules are there');
	if (nft.rules > legacy.rules) return choose('nft', 'most rules are there');
	return choose('nft', nft.rules > 0 ? 'as many rules in either' : 'no rules of others in either');
};
