import type { CniReply } from './protocol.ts';

/** Error codes of the CNI specification 1.1.0, and our own from 100 on. */
export const cniCodes = {
	incompatibleVersion: 1,
	unsupportedField: 2,
	unknownContainer: 3,
	invalidEnvironment: 4,
	ioFailure: 5,
	undecodable: 6,
	invalidConfig: 7,
	tryLater: 11,
	notAvailable: 50,
	/** Wiring the pod in the kernel failed. */
	wiringFailed: 100,
	/** No address is left in the node's podCIDRs. */
	exhausted: 101,
	/** CHECK found the pod's network not as it should be. */
	checkFailed: 102,
} as const;

export type CniError = {
	readonly code: number;
	/** What failed, short. */
	readonly msg: string;
	/** Why, and what to do. */
	readonly details: string;
};

export const cniError = (code: number, msg: string, details: string): CniError => ({ code, msg, details });

/** The version an error is reported in when the configuration names none that is a version. */
export const latestVersion = '1.1.0';

export const errorReply = (cniVersion: string, error: CniError): CniReply => ({
	exitCode: 1,
	stdout: `${JSON.stringify({ cniVersion, ...error })}\n`,
});
