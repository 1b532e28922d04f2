import type { PathAttributes } from 'bgp-js-lite';
import type { FilterVerdict, JudgeRoute } from '../policy/evaluate.ts';
import type { Path, PolicyAnswer, RibFamily, RibPeer } from './types.ts';

/**
 * What of a peer's Adj-RIB-In, which stays as it was told, goes into the decision (RFC 4271 §9.1: the import policy). Only
 * paths that a filter changes or rejects are remembered apart, so a peer without filters costs nothing more.
 */

export type Imports = {
	/** Takes a path over, or away; returns what stood for it before in the decision and what does now. */
	readonly put: (
		family: RibFamily,
		key: string,
		path: Path | undefined,
		/** What was told before. */
		told: Path | undefined,
	) => { readonly before: Path | undefined; readonly now: Path | undefined };
	/** What a path of the Adj-RIB-In stands for; undefined: rejected. */
	readonly of: (family: RibFamily, key: string, path: Path) => Path | undefined;
	/** Attributes as told where something else is used; for those who look for what is in use. */
	readonly told: () => Iterable<PathAttributes>;
	/** Prefixes of paths that nothing was taken of. */
	readonly rejected: () => Iterable<string>;
};

/** Which rule decides; without one, what holds otherwise. */
export type Judged = { readonly accept: boolean; readonly verdict: FilterVerdict | undefined };
export type JudgeImport = (path: Path, family: RibFamily) => Judged;

export type InterfacesOf = (nextHop: string | undefined) => readonly string[];

export const createJudgeImport = (
	{ source, rejectImport = false }: RibPeer,
	judge: JudgeRoute | undefined,
	interfacesOf: InterfacesOf,
): JudgeImport => {
	const peerType = source.kind === 'ebgp' ? 'eBGP' : 'iBGP';
	return ({ prefix, attributes }, family) => {
		const interfaces = (): readonly string[] => interfacesOf(attributes.nextHop);
		const verdict = judge?.({ prefix, family, attributes, local: false, peerType, interfaces });
		return { accept: verdict?.accept ?? !rejectImport, verdict };
	};
};

export const createImports = (
	received: Readonly<Record<RibFamily, Map<string, Path>>>,
	judge: () => JudgeImport,
	intern: (attributes: PathAttributes) => PathAttributes,
): Imports => {
	/** Where it is not the path as told. */
	const other: Readonly<Record<RibFamily, Map<string, { readonly path: Path | undefined; readonly told: Path }>>> = {
		4: new Map(),
		6: new Map(),
	};
	const of: Imports['of'] = (family, key, path) => {
		const found = other[family].size > 0 ? other[family].get(key) : undefined;
		return found === undefined ? path : found.path;
	};
	return {
		of,
		put: (family, key, path, told) => {
			const before = told && of(family, key, told);
			if (other[family].size > 0) other[family].delete(key);
			if (path === undefined) {
				received[family].delete(key);
				return { before, now: undefined };
			}
			received[family].set(key, path);
			const { accept, verdict } = judge()(path, family);
			if (accept && (verdict === undefined || verdict.attributes === path.attributes)) {
				return { before, now: path };
			}
			const now = accept && verdict ? { ...path, attributes: intern(verdict.attributes) } : undefined;
			other[family].set(key, { path: now, told: path });
			return { before, now };
		},
		rejected: function* () {
			for (const family of [4, 6] as const) {
				for (const { path, told } of other[family].values()) if (path === undefined) yield told.prefix;
			}
		},
		told: function* () {
			for (const family of [4, 6] as const) for (const { told } of other[family].values()) yield told.attributes;
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
