/**
 * How V8 is told to use memory in bird: routes come in bursts, each of which V8 would take as a reason to let its young
 * generation grow, to 134 MB, and keep it so, and the old one to several times what is in use.
 */
export const birdOptions = ['--max-semi-space-size=8', '--heap-growing-percent=30'] as const;
