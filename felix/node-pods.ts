import { keyOf, type Pod } from '../src/api/objects.ts';

/** The Pod objects of this node, and those who wait for one of them. */
export type NodePods = {
	readonly all: () => Iterable<Pod>;
	/** Whether the pod is one of this node's. */
	readonly set: (pod: Pod) => boolean;
	readonly delete: (key: string) => void;
	/** The pod (with this uid, unless '') once objects are in sync and it is there; undefined after `timeout` ms. */
	readonly waitFor: (namespace: string, name: string, uid: string, timeout: number) => Promise<Pod | undefined>;
	/** Objects are in sync now. */
	readonly wake: () => void;
};

type Waiter = { readonly key: string; readonly uid: string; readonly resolve: (pod: Pod | undefined) => void };

export const createNodePods = (nodeName: string, inSync: () => boolean): NodePods => {
	const pods = new Map<string, Pod>();
	let waiters: Waiter[] = [];

	const wake = (): void => {
		if (!inSync()) return;
		waiters = waiters.filter(({ key, uid, resolve }) => {
			const pod = pods.get(key);
			if (pod === undefined || (uid !== '' && pod.metadata.uid !== uid)) return true;
			resolve(pod);
			return false;
		});
	};

	return {
		all: () => pods.values(),
		set: (pod) => {
			const here = pod.spec.nodeName === nodeName;
			if (here) pods.set(keyOf(pod.metadata), pod);
			else pods.delete(keyOf(pod.metadata));
			return here;
		},
		delete: (key) => void pods.delete(key),
		waitFor: (namespace, name, uid, timeout) =>
			new Promise((resolve) => {
				const waiter = { key: `${namespace}/${name}`, uid, resolve };
				waiters.push(waiter);
				const timer = setTimeout(() => {
					waiters = waiters.filter((other) => other !== waiter);
					resolve(undefined);
				}, timeout);
				timer.unref();
				wake();
			}),
		wake,
	};
};
