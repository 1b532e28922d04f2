/**
 * How V8 is told to use memory in bird: routes come in bursts, each of which V8 would take as a reason to let its young
 * generation grow, to 134 MB, and keep it so.
 */
export const birdOptions = ['--max-semi-space-size=8'] as const;
