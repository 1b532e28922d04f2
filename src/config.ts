/** Settings of a daemon, from a YAML file, MANX_* environment variables and flags. */
export type Settings = {
	readonly nodeName: string;
	readonly datastore: { readonly kind: 'directory'; readonly path: string };
	readonly mode: 'bgp' | 'host-gw';
	/** Where sockets and records live. */
	readonly runDir: string;
	readonly masquerade: boolean;
	/** Canonical prefixes beside the pod networks that pods reach with their own address. */
	readonly nonMasqueradeCIDRs: readonly string[];
	/** Canonical prefixes of all pods; empty: the union of all nodes' podCIDRs. */
	readonly podNetworks: readonly string[];
	/** Interface name, prefix or address to take the node's address from; '': the Node's InternalIP. */
	readonly nodeAddress: string;
	/** 0: from the uplink. */
	readonly mtu: number;
	readonly iptablesBackend: 'auto' | 'legacy' | 'nft';
	readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
	/** Seconds between full comparisons of the kernel with what is wanted. */
	readonly resyncSeconds: number;
};
