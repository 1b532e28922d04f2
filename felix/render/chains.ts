/** Names of our chains; docs/design/policy.md has the picture. */
export const chain = {
	prerouting: 'MANX-PREROUTING',
	forward: 'MANX-FORWARD',
	related: 'MANX-RELATED',
	fromPod: 'MANX-FROM-POD',
	toPod: 'MANX-TO-POD',
	podToPod: 'MANX-POD-TO-POD',
	accept: 'MANX-ACCEPT',
	input: 'MANX-INPUT',
	output: 'MANX-OUTPUT',
	egress: 'MANX-EGRESS',
	ingress: 'MANX-INGRESS',
	reset: 'MANX-RESET',
	postrouting: 'MANX-POSTROUTING',
} as const;

/** Host ends of pod interfaces, as a rule matches them. */
export const podInterfaces = 'manx+';

/** NFLOG group that what is decided is told to. */
export const logGroup = 173;

/** Tells of a packet, at most ten a second and rule, named after the chain that decides. */
export const logRule = (name: string): string =>
	`-m limit --limit 10/sec --limit-burst 20 -j NFLOG --nflog-prefix ${name} --nflog-group ${logGroup}`;

/** 23 of the 28 characters a chain's name may have (XT_EXTENSION_MAXNAMELEN). */
export const groupChain = (direction: 'ingress' | 'egress', id: string): string =>
	`MANX-${direction === 'egress' ? 'E' : 'I'}-${id}`;
