/** Policy calculation: see types.ts for the contract, docs/design/policy.md for how it works. */
export { createPolicyCalc } from './policy-calc.ts';
export type * from './types.ts';
export { type Packet, type Verdict, verdict } from './verdict.ts';
