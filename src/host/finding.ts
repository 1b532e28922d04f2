/** Something about the host that keeps Manx from its work, or may. */
export type HostFinding = {
	/** One word in camel case; docs/reference/host.md lists them. */
	readonly code: string;
	/** What is and what it does to pods: a clause without a full stop. */
	readonly message: string;
	/** What to do about it: a sentence. */
	readonly fix: string;
	/** Whether the node cannot do its work as promised; else it is a warning. */
	readonly degraded: boolean;
};

export const sentenceOf = ({ code, message, fix }: HostFinding): string => `${code}: ${message}. ${fix}`;
