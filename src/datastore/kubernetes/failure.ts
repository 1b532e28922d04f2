/** How a request to the API server can fail. Pure. */

export type Failure = {
	/**
	 * `unreachable`: no answer, or the connection broke. `status`: the server answered with an error.
	 * `garbled`: what came is not what an API server sends.
	 */
	readonly type: 'unreachable' | 'status' | 'garbled';
	/** HTTP status code; 0 unless `type` is `status`. */
	readonly code: number;
	/** For people: what is wrong, as the rest of a sentence. */
	readonly reason: string;
	/** Milliseconds the server asks to wait; 0 if it does not. */
	readonly retryAfter: number;
	/** The server has not reached the resourceVersion asked for (a lagging server, or one restored from a backup). */
	readonly tooLarge: boolean;
};

export const unreachable = (reason: string): Failure => ({
	type: 'unreachable',
	code: 0,
	reason,
	retryAfter: 0,
	tooLarge: false,
});

export const garbled = (reason: string): Failure => ({ ...unreachable(reason), type: 'garbled' });

type Status = {
	readonly message?: unknown;
	readonly reason?: unknown;
	readonly code?: unknown;
	readonly details?: { readonly retryAfterSeconds?: unknown; readonly causes?: unknown } | null;
} | null;

const advice: Readonly<Record<number, string>> = {
	401: 'the API server refuses our credentials: check the service account or the kubeconfig',
	403: 'the API server forbids it: apply the ClusterRole of the manifest again',
};

/** An error answer: the HTTP code (or a Status' own), and the `Status` object if the body was one. */
export const statusFailure = (httpCode: number, body: unknown, retryAfterHeader = ''): Failure => {
	const status = (typeof body === 'object' ? body : null) as Status;
	const code = httpCode > 0 ? httpCode : typeof status?.code === 'number' ? status.code : 500;
	const said = typeof status?.message === 'string' ? status.message : '';
	const seconds = Number(status?.details?.retryAfterSeconds ?? retryAfterHeader);
	const causes = Array.isArray(status?.details?.causes) ? (status.details.causes as { reason?: unknown }[]) : [];
	return {
		type: 'status',
		code,
		reason: [advice[code] ?? `the API server answers ${code}`, said].filter(Boolean).join(': '),
		retryAfter: Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 60) * 1000 : 0,
		// storage.NewTooLargeResourceVersionError: apiserver/pkg/storage/errors.go
		tooLarge:
			causes.some((cause) => cause?.reason === 'ResourceVersionTooLarge') || /^Too large resource version/.test(said),
	};
};
