import type { SessionReport } from './report.ts';
import type { BfdSessionOptions, BfdStateChange } from './types.ts';

/** Messages between the speaker's thread and the BFD thread. */

export type ToWorker =
	| { readonly type: 'add'; readonly options: BfdSessionOptions; readonly counters: Int32Array }
	| { readonly type: 'remove'; readonly peer: string }
	| { readonly type: 'stop'; readonly adminDown: boolean };

export type FromWorker =
	| { readonly type: 'report'; readonly report: SessionReport }
	| { readonly type: 'changed'; readonly change: BfdStateChange }
	| { readonly type: 'stopped' };
