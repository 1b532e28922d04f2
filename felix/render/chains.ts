/** Names of our chains; docs/design/policy.md has the picture. */
export const chain = {
	prerouting: 'MANX-PREROUTING',
	forward: 'MANX-FORWARD',
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

/** 23 of the 28 characters a chain's name may have (XT_EXTENSION_MAXNAMELEN). */
export const groupChain = (direction: 'ingress' | 'egress', id: string): string =>
	`MANX-${direction === 'egress' ? 'E' : 'I'}-${id}`;
