import type { PathAttributes } from 'bgp-js-lite';
import type { FilterVerdict, JudgeRoute } from '../policy/evaluate.ts';
import type { Entries, Entry } from './entries.ts';
import { createPathStore, type PathStore } from './path-store.ts';
import type { Path, PolicyAnswer, RibFamily, RibPeer } from './types.ts';

/**
 * What of a peer's Adj-RIB-In, which stays as it was told, goes into the decision (RFC 4271 §9.1: the import policy). Only
 * paths that a filter changes or rejects are remembered apart, so a peer without filters costs nothing more.
 */

export type Imports = {
	/** Takes a path over, or away; returns what stood for it before in the decision and what does now. */
	readonly put: (
		entry: Entry,
		pathId: number | undefined,
		path: Path | undefined,
		/** What was told before. */
		told: Path | undefined,
	) => { readonly before: Path | undefined; readonly now: Path | undefined };
	/** What a path of the Adj-RIB-In stands for; undefined: rejected. */
	readonly of: (entry: Entry, path: Path) => Path | undefined;
	/** Attributes as told where something else is used; for those who look for what is in use. */
	readonly told: () => Iterable<PathAttributes>;
	/** Prefixes of paths that nothing was taken of. */
	readonly rejected: () => Iterable<string>;
};

/** Which rule decides; without one, what holds otherwise. */
export type Judged = { readonly accept: boolean; readonly verdict: FilterVerdict | undefined };
export type JudgeImport = (path: Path, prefix: string, family: RibFamily) => Judged;

export type InterfacesOf = (nextHop: string | undefined) => readonly string[];

export const createJudgeImport = (
	{ source, rejectImport = false }: RibPeer,
	judge: JudgeRoute | undefined,
	interfacesOf: InterfacesOf,
): JudgeImport => {
	const peerType = source.kind === 'ebgp' ? 'eBGP' : 'iBGP';
	return ({ attributes }, prefix, family) => {
		if (judge === undefined) return { accept: !rejectImport, verdict: undefined };
		const interfaces = (): readonly string[] => interfacesOf(attributes.nextHop);
		const verdict = judge({ prefix, family, attributes, local: false, peerType, interfaces });
		return { accept: verdict?.accept ?? !rejectImport, verdict };
	};
};

export const createImports = (
	received: PathStore<Path>,
	table: Pick<Entries, 'byId'>,
	judge: () => JudgeImport,
	intern: (attributes: PathAttributes) => PathAttributes,
): Imports => {
	/** Where it is not the path as told. */
	const other = createPathStore<{ readonly path: Path | undefined; readonly told: Path }>(table);
	const isPlain = (): boolean => other.size(4) + other.size(6) === 0;
	/** What a run of prefixes that a filter changes alike shares. */
	let last: { readonly told: Path; readonly path: Path } | undefined;
	const changed = (told: Path, attributes: PathAttributes): Path => {
		if (last?.told !== told || last.path.attributes !== attributes) last = { told, path: { ...told, attributes } };
		return last.path;
	};
	const of: Imports['of'] = (entry, path) => {
		const found = isPlain() ? undefined : other.get(entry, path.pathId);
		return found === undefined ? path : found.path;
	};
	function* others(): Iterable<readonly [Entry, { readonly path: Path | undefined; readonly told: Path }]> {
		for (const [entry, , one] of other.entries()) yield [entry, one];
	}
	return {
		of,
		put: (entry, pathId, path, told) => {
			const before = told && of(entry, told);
			if (!isPlain()) other.set(entry, pathId, undefined);
			received.set(entry, pathId, path);
			if (path === undefined) return { before, now: undefined };
			const { accept, verdict } = judge()(path, entry.prefix, entry.family);
			if (accept && (verdict === undefined || verdict.attributes === path.attributes)) {
				return { before, now: path };
			}
			const now = accept && verdict ? changed(path, intern(verdict.attributes)) : undefined;
			other.set(entry, pathId, { path: now, told: path });
			return { before, now };
		},
		rejected: function* () {
			for (const [{ prefix }, { path }] of others()) if (path === undefined) yield prefix;
		},
		told: function* () {
			for (const [, { told }] of others()) yield told.attributes;
		},
	};
};

/** For people. */
export const importAnswer = ({ accept, verdict }: Judged): Omit<PolicyAnswer, 'peer'> => ({
	accept,
	...(verdict && { rule: verdict.rule }),
	reason: verdict
		? `${verdict.rule} ${accept ? 'accepts' : 'rejects'} it`
		: accept
			? 'no rule of a filter says otherwise'
			: 'nothing is taken from it that no filter accepts (importPolicy, RFC 8212)',
});
