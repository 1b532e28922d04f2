/** From policy state to chains, hooks and sets: pure text. The order they are programmed in is docs/design/policy.md's. */
export { chain, groupChain, logGroup } from './chains.ts';
export { indexInChain, mergedWith, renderPolicy } from './render-policy.ts';
export { type RenderSettings, type RulesetInput, renderRuleset } from './render-ruleset.ts';
export { sourceFilterOf, sourceProgram } from './source-filter.ts';
export { type StaticSetsInput, staticSetNames, staticSets } from './static-sets.ts';
