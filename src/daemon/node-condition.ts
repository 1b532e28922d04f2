import type { DatastoreEvent } from '../datastore/datastore.ts';
import type { KubernetesClient } from '../datastore/kubernetes/client.ts';
import type { Logger } from '../logging.ts';

/**
 * Tells Kubernetes that the node's network is there: condition NetworkUnavailable=False, which takes the taint off a node
 * whose cloud provider put it there. Said once felix serves and the node has its podCIDRs, and again for a Node object
 * made anew.
 */

export type NodeConditionOptions = {
	readonly client: KubernetesClient;
	readonly nodeName: string;
	readonly log: Logger;
};

const condition = {
	type: 'NetworkUnavailable',
	status: 'False',
	reason: 'ManxIsUp',
	message: 'Manx routes the pods of this node',
} as const;

/** Milliseconds. */
const firstRetry = 1000;
const lastRetry = 60_000;

export const createNodeCondition = ({ client, nodeName, log }: NodeConditionOptions) => {
	/** Uid of the Node object that is ready to be told, and of the one that was. */
	let ready = '';
	let told = '';
	let inSync = false;
	let serving = false;
	let busy = false;
	let wait = firstRetry;
	let timer: NodeJS.Timeout | undefined;

	const tell = async (): Promise<void> => {
		timer = undefined;
		if (busy || !inSync || !serving || ready === '' || ready === told) return;
		busy = true;
		const uid = ready;
		const result = await client.patchNodeStatus(nodeName, condition);
		busy = false;
		if (result.ok) {
			told = uid;
			wait = firstRetry;
			if (result.changed) log.info({}, 'the node is marked as having its network (NetworkUnavailable=False)');
		} else {
			const { reason } = result.failure;
			log.warn({}, `the node's condition NetworkUnavailable cannot be set: ${reason}. It is tried again.`);
			timer = setTimeout(() => void tell(), wait);
			timer.unref();
			wait = Math.min(wait * 2, lastRetry);
		}
	};

	return {
		onEvent: (event: DatastoreEvent): void => {
			for (const change of event.changes) {
				if (change.type === 'delete') {
					if (change.kind === 'Node' && change.key === nodeName) ready = told = '';
				} else if (change.object.kind === 'Node' && change.object.metadata.name === nodeName) {
					ready = change.object.spec.podCIDRs.length > 0 ? change.object.metadata.uid : '';
				}
			}
			({ inSync } = event);
			if (timer === undefined) void tell();
		},
		/** Felix answers the CNI plugin from now on. */
		serving: (): void => {
			serving = true;
			void tell();
		},
		close: (): void => {
			serving = false;
			clearTimeout(timer);
		},
	};
};
