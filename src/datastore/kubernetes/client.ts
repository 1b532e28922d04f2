import { createHash } from 'node:crypto';
import type { Kind } from '../../api/objects.ts';
import type { ApiResult, ApiServer } from './api-server.ts';
import type { Failure } from './failure.ts';
import { objectPath, resources } from './resources.ts';

/** The little Manx writes to the API: a node condition, Events, the status of its own objects. Nothing is thrown. */

export type WriteResult =
	/** `changed` is false when it stood there already. */
	{ readonly ok: true; readonly changed: boolean } | { readonly ok: false; readonly failure: Failure };

export type NodeCondition = {
	readonly type: string;
	readonly status: 'True' | 'False';
	/** One word in camel case. */
	readonly reason: string;
	readonly message: string;
};

export type EventOptions = {
	readonly kind: Kind;
	/** `namespace/name` or `name`, and uid, of what the event is about. */
	readonly key: string;
	readonly uid: string;
	readonly type: 'Normal' | 'Warning';
	/** One word in camel case. */
	readonly reason: string;
	readonly message: string;
	/** Every node and daemon says it in the same words: one Event for all. */
	readonly shared?: boolean;
};

export type KubernetesClient = {
	/** Needs get on nodes and patch on nodes/status. */
	readonly patchNodeStatus: (nodeName: string, condition: NodeCondition) => Promise<WriteResult>;
	/** The same event again is no other, until the API server has forgotten it (an hour). Needs create on events. */
	readonly createEvent: (event: EventOptions) => Promise<WriteResult>;
	/**
	 * Merges into the object's status; given a resourceVersion, only of that version (else a failure of code 409). Needs
	 * patch on the kind's status.
	 */
	readonly patchStatus: (kind: Kind, key: string, status: object, resourceVersion?: string) => Promise<WriteResult>;
	/** The object as it is now. Needs get on the kind. */
	readonly readObject: (kind: Kind, key: string) => Promise<ApiResult>;
};

export type KubernetesClientOptions = {
	readonly api: ApiServer;
	/** Who writes, as in `manx-felix`, and where. */
	readonly component: string;
	readonly nodeName: string;
	readonly now?: () => Date;
};

type Condition = { type?: string; status?: string; reason?: string; message?: string; lastTransitionTime?: string };

export const createKubernetesClient = (options: KubernetesClientOptions): KubernetesClient => {
	const { api, component, nodeName, now = () => new Date() } = options;
	// metav1.Time has seconds.
	const timestamp = (): string =>
		now()
			.toISOString()
			.replace(/\.\d+Z$/, 'Z');

	const write = async (...args: Parameters<ApiServer['ask']>): Promise<WriteResult> => {
		const result = await api.ask(...args);
		return result.ok ? { ok: true, changed: true } : result;
	};

	return {
		patchNodeStatus: async (name, condition) => {
			const path = objectPath(resources.Node, name);
			const read = await api.ask({ method: 'GET', path });
			if (!read.ok) return read;
			const { status } = (read.value ?? {}) as { status?: { conditions?: Condition[] } };
			const before = status?.conditions?.find((one) => one.type === condition.type);
			if (before?.status === condition.status && before.reason === condition.reason)
				return { ok: true, changed: false };
			const at = timestamp();
			const same = before?.status === condition.status && before.lastTransitionTime;
			const entry = { ...condition, lastHeartbeatTime: at, lastTransitionTime: same || at };
			// Strategic: conditions are merged by their type, so the kubelet's own stay as they are.
			return write({
				method: 'PATCH',
				path: `${path}/status`,
				contentType: 'application/strategic-merge-patch+json',
				body: { status: { conditions: [entry] } },
			});
		},

		createEvent: async ({ kind, key, uid, type, reason, message, shared = false }) => {
			const [first = '', second] = key.split('/');
			const [namespace, name] = second === undefined ? ['', first] : [first, second];
			// Events about what has no namespace live in `default` (client-go/tools/record/event.go).
			const home = namespace || 'default';
			const speaker = shared ? [] : [component, nodeName];
			const digest = createHash('sha256').update([...speaker, kind, uid, reason, message].join('\0'));
			const eventName = `${name.slice(0, 200)}.${digest.digest('hex').slice(0, 16)}`;
			const path = `/api/v1/namespaces/${encodeURIComponent(home)}/events`;
			const at = timestamp();
			const created = await write({
				method: 'POST',
				path,
				body: {
					apiVersion: 'v1',
					kind: 'Event',
					metadata: { name: eventName, namespace: home },
					involvedObject: { apiVersion: resources[kind].apiVersion, kind, name, namespace, uid },
					type,
					reason,
					message: message.slice(0, 1024),
					source: { component, host: nodeName },
					firstTimestamp: at,
					lastTimestamp: at,
					count: 1,
				},
			});
			return !created.ok && created.failure.code === 409 ? { ok: true, changed: false } : created;
		},

		patchStatus: (kind, key, status, resourceVersion) =>
			write({
				method: 'PATCH',
				path: `${objectPath(resources[kind], key)}/status`,
				contentType: 'application/merge-patch+json',
				body: { ...(resourceVersion !== undefined && { metadata: { resourceVersion } }), status },
			}),

		readObject: (kind, key) => api.ask({ method: 'GET', path: objectPath(resources[kind], key) }),
	};
};
