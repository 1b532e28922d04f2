import { type Kind, keyOf, type ManxObject, type Pod } from '../src/api/objects.ts';
import type { Attachment } from './attachment.ts';
import type { LocalPod, PolicyCalc, PolicyObject } from './calc/index.ts';
import type { Cni } from './cni/verbs.ts';
import type { Dataplane } from './dataplane/dataplane.ts';
import type { NodeNetwork } from './node-network.ts';
import type { NodePods } from './node-pods.ts';

/** Where each object goes that comes in, and what is known of the pods wired here by both their objects and the kernel. */

export type ObjectChange =
	| { readonly type: 'set'; readonly object: ManxObject }
	| { readonly type: 'delete'; readonly kind: Kind; readonly key: string };

export type Objects = {
	/** `nodes`: what hangs on nodes is to be computed anew. */
	readonly take: (change: ObjectChange) => 'nodes' | 'other';
	readonly policies: () => number;
	/** A pod has the addresses of all its attachments: a sandbox made anew lives beside the old one for a while. */
	readonly setLocalPod: (key: string, attachments: Iterable<Attachment>) => void;
	/** The other attachments on this node. */
	readonly wiredBeside: (attachment: Attachment) => Attachment[];
	/** The attachments found at start are there: pods that came before them are matched and remembered. */
	readonly matchAll: () => void;
};

export type ObjectsDeps = {
	readonly nodeName: string;
	readonly calc: PolicyCalc;
	readonly network: NodeNetwork;
	readonly pods: NodePods;
	/** Undefined before they are made. */
	readonly cni: () => Cni | undefined;
	readonly dataplane: () => Dataplane | undefined;
	/** What connections there were is to be looked at again. */
	readonly renamed: () => void;
};

export const keyOfAttachment = ({ podNamespace, podName }: Attachment): string => `${podNamespace}/${podName}`;

export const createObjects = (deps: ObjectsDeps): Objects => {
	const { nodeName, calc, network, pods, cni, dataplane } = deps;
	const policies = new Set<string>();

	const lastKnownOf = (attachments: readonly Attachment[]): Pick<LocalPod, 'lastKnown'> => {
		const all = attachments.map((attachment) => cni()?.lastKnown(attachment));
		const lastKnown = all.find((known) => known !== undefined);
		return lastKnown === undefined ? {} : { lastKnown };
	};
	const setLocalPod: Objects['setLocalPod'] = (key, attachments) => {
		const own = [...attachments].filter((attachment) => keyOfAttachment(attachment) === key);
		const all = new Set(own.flatMap((attachment) => attachment.addresses));
		if (own.length === 0) calc.deleteLocalPod(key);
		else calc.setLocalPod({ key, addresses: [...all], node: nodeName, ...lastKnownOf(own) });
	};
	const wiredBeside: Objects['wiredBeside'] = (attachment) =>
		[...(dataplane()?.attachments().values() ?? [])].filter((one) => one.hostInterface !== attachment.hostInterface);

	/** Gives pods found in the kernel without a record their names, by address. */
	const matchNameless = (pod: Pod): void => {
		for (const attachment of cni()?.attachments() ?? []) {
			if (attachment.podName !== '') continue;
			if (!attachment.addresses.some((address) => pod.status.podIPs.includes(address))) continue;
			const named = (cni() as Cni).adopt(attachment, pod);
			setLocalPod(keyOf(pod.metadata), [...wiredBeside(named), named]);
			deps.renamed();
			dataplane()?.adopt([named]);
		}
	};
	const remember = ({ metadata }: Pod): void => cni()?.remember(metadata.namespace, metadata.name);

	const onPod = (key: string, pod: Pod | undefined): void => {
		if (pod === undefined) {
			pods.delete(key);
			return;
		}
		if (!pods.set(pod)) return;
		matchNameless(pod);
		pods.wake();
	};

	/** Only of this node's pods does anybody ask for it: for 100,000 others it would be 6 MB. */
	const withoutUID = (object: PolicyObject): PolicyObject =>
		object.kind !== 'Pod' || object.spec.nodeName === nodeName
			? object
			: { ...object, metadata: { ...object.metadata, uid: '' } };

	return {
		take: (change) => {
			const kind = change.type === 'set' ? change.object.kind : change.kind;
			const key = change.type === 'set' ? keyOf(change.object.metadata) : change.key;
			const object = change.type === 'set' ? change.object : undefined;
			if (kind === 'Node') {
				if (object?.kind === 'Node') network.setNode(object);
				else network.deleteNode(key);
				return 'nodes';
			}
			if (kind === 'BGPConfiguration') {
				network.setConfiguration(object?.kind === 'BGPConfiguration' ? object : undefined);
				return 'nodes';
			}
			const strayed = kind === 'Pod' && network.setPod(key, object?.kind === 'Pod' ? object : undefined);
			if (kind === 'Pod') onPod(key, object?.kind === 'Pod' ? object : undefined);
			if (kind === 'NetworkPolicy') {
				if (object === undefined) policies.delete(key);
				else policies.add(key);
			}
			if (kind === 'Pod' || kind === 'Namespace' || kind === 'NetworkPolicy') {
				if (object === undefined) calc.delete(kind, key);
				else if (object.kind === kind) calc.set(withoutUID(object as PolicyObject));
				if (object?.kind === 'Pod' && object.spec.nodeName === nodeName) remember(object);
				if (object?.kind === 'Namespace') cni()?.remember(key);
			}
			return strayed ? 'nodes' : 'other';
		},
		policies: () => policies.size,
		setLocalPod,
		wiredBeside,
		matchAll: () => {
			for (const pod of pods.all()) {
				matchNameless(pod);
				remember(pod);
			}
		},
	};
};
