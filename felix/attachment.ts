/** One pod interface that felix wired: the record under /run/manx and what the veth's alias says. */
export type Attachment = {
	readonly containerID: string;
	/** Name in the pod: `eth0`. */
	readonly ifname: string;
	/** Path of the pod's netns as the runtime gave it. */
	readonly netns: string;
	/** '' until it is matched with a pod again. */
	readonly podNamespace: string;
	readonly podName: string;
	readonly podUID: string;
	/** Canonical, at most one a family. */
	readonly addresses: readonly string[];
	/** `manx` + 11 hex digits of SHA-256 over container ID and ifname. */
	readonly hostInterface: string;
	/** Lower case, of the pod's end. */
	readonly mac: string;
	/** The bandwidth plugin, next in the list, makes an ingress qdisc at the veth, and fails where there is one. */
	readonly shaped?: true;
};
