/** Policy calculation: see types.ts for the contract, docs/design/policy.md for how it works. */
export { type MergeLimits, usualLimits } from './merged-rules.ts';
export { createPolicyCalc } from './policy-calc.ts';
export type * from './types.ts';
export { type Packet, setOf, type Verdict, verdict } from './verdict.ts';
