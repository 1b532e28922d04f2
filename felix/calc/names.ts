/**
 * Names of sets: `manx-4-<kind letter>-<80 bit hash of what defines the content>`, at most 31 characters (ipset's limit),
 * the same on every node and after every restart.
 */
import type { Family } from '../../src/net/ip.ts';
import { shortHash } from './hash.ts';

/** The letter says what a person finds in the set. */
export const setLetter = {
	/** Addresses of the pods a selector takes. */
	selector: 's',
	/** address,protocol:port of the pods a selector takes, for one port name. */
	namedPort: 'p',
	/** ipBlock prefixes. */
	net: 'n',
	/** ipBlock.except prefixes. */
	except: 'x',
	/** Local pods of a group. */
	group: 'g',
	/** What many rules of a group allow. */
	merged: 'm',
} as const;

export type SetLetter = (typeof setLetter)[keyof typeof setLetter];

/** What a set's name is made from before the family is known. */
export type SetID = { readonly letter: SetLetter; readonly hash: string };

export const setID = (letter: SetLetter, ...parts: readonly string[]): SetID => ({
	letter,
	hash: shortHash(letter, ...parts),
});

export const setName = (family: Family, { letter, hash }: SetID): string => `manx-${family}-${letter}-${hash}`;

/** The set of local pods that no policy isolates in a direction. */
export const openSetName = (family: Family, direction: 'ingress' | 'egress'): string =>
	`manx-${family}-open-${direction}`;
