/**
 * What a person would hand to the kernel's tools for a change, knowing exactly what was there before: one `ipset restore`
 * for what comes, one `iptables-restore --noflush` a family with the least edits, one `ipset restore` for what goes.
 */
import type { Backend, IpsetSpec, Ruleset } from 'iptables-wrapper';
import type { Desired } from '../../../felix/dataplane/desired.ts';
import type { Command } from './spawn-timer.ts';

const none: ReadonlySet<string> = new Set();

const ipsetLines = (before: Desired['sets'], after: Desired['sets'], verb: 'add' | 'del'): string[] => {
	const lines: string[] = [];
	const [from, to] = verb === 'add' ? [before, after] : [after, before];
	for (const [name, spec] of to) {
		const other: IpsetSpec | undefined = from.get(name);
		if (other?.members === spec.members) continue;
		if (other === undefined && verb === 'del') continue;
		if (other === undefined) {
			lines.push(`create ${name} ${spec.type} family ${spec.family === 4 ? 'inet' : 'inet6'} maxelem 1048576`);
		}
		for (const member of spec.members) {
			if (!(other?.members ?? none).has(member)) lines.push(`${verb} ${name} ${member}`);
		}
	}
	return lines;
};

const chainLines = (before: Ruleset, after: Ruleset): string[] => {
	const declare: string[] = [];
	const edits: string[] = [];
	const gone: string[] = [];
	for (const [key, rules] of after.chains) {
		const chain = key.slice(key.indexOf(' ') + 1);
		const old = before.chains.get(key);
		if (old === rules) continue;
		if (old === undefined) declare.push(`:${chain} - [0:0]`);
		const had = old ?? [];
		let start = 0;
		while (start < had.length && start < rules.length && had[start] === rules[start]) start++;
		let end = 0;
		while (
			end < had.length - start &&
			end < rules.length - start &&
			had[had.length - 1 - end] === rules[rules.length - 1 - end]
		) {
			end++;
		}
		const [outs, ins] = [had.slice(start, had.length - end), rules.slice(start, rules.length - end)];
		const kept = Math.min(outs.length, ins.length);
		for (let i = 0; i < kept; i++) edits.push(`-R ${chain} ${start + i + 1} ${ins[i]}`);
		for (let i = kept; i < outs.length; i++) edits.push(`-D ${chain} ${start + kept + 1}`);
		for (let i = kept; i < ins.length; i++) {
			edits.push(end === 0 ? `-A ${chain} ${ins[i]}` : `-I ${chain} ${start + i + 1} ${ins[i]}`);
		}
	}
	for (const key of before.chains.keys()) {
		if (!after.chains.has(key)) gone.push(`-F ${key.slice(7)}`, `-X ${key.slice(7)}`);
	}
	return declare.length + edits.length + gone.length === 0 ? [] : ['*filter', ...declare, ...edits, ...gone, 'COMMIT'];
};

export type ByHand = {
	/** Until the change is in force. */
	readonly commands: readonly Command[];
	/** Sets nobody uses any more, destroyed at leisure. */
	readonly leftOver: readonly string[];
};

export const byHand = (before: Desired, after: Desired, backend: Backend): ByHand => {
	const ipset = (lines: readonly string[]): Command[] =>
		lines.length === 0 ? [] : [{ file: 'ipset', args: ['restore', '-exist'], input: `${lines.join('\n')}\n` }];
	const iptables = ([4, 6] as const).flatMap((family): Command[] => {
		const lines = chainLines(before.rulesets[family], after.rulesets[family]);
		const file = `${family === 4 ? 'iptables' : 'ip6tables'}-${backend}-restore`;
		return lines.length === 0 ? [] : [{ file, args: ['--noflush', '-w', '10'], input: `${lines.join('\n')}\n` }];
	});
	return {
		commands: [
			...ipset(ipsetLines(before.sets, after.sets, 'add')),
			...iptables,
			...ipset(ipsetLines(before.sets, after.sets, 'del')),
		],
		leftOver: [...before.sets.keys()].filter((name) => !after.sets.has(name)),
	};
};
