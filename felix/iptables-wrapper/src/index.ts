/** Keeps chains of iptables and members of ipsets as wanted, writing only the difference. See README.md. */
export { createChains } from './chains.ts';
export { detectBackend } from './detect-backend.ts';
export { findEnd } from './hooks.ts';
export type { ReadSets, SetSink } from './ipset-tool.ts';
export { createIpsets } from './ipsets.ts';
export { changedSet, differenceOf, type SetDifference } from './layered-set.ts';
export { removeLeftovers } from './leftovers.ts';
export { normaliseRule } from './normalise.ts';
export { targetOf } from './rule.ts';
export { type ParsedSave, parseSave, type SavedChain, type SavedRule } from './save.ts';
export type { SetChange } from './set-writer.ts';
export type * from './types.ts';
