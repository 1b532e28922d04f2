import { constants } from 'node:os';
import { getSystemErrorMessage, getSystemErrorName } from 'node:util';
import type { KernelError } from './kernel.ts';

const advice: Readonly<Record<string, string>> = {
	EPERM: 'Run with CAP_NET_ADMIN (and CAP_SYS_ADMIN to enter network namespaces).',
	ENODEV: 'The interface does not exist (any more); it is tried again once it is there.',
	ENETDOWN: 'Set the interface up; it is tried again at the next pass.',
	ENETUNREACH: 'No connected route leads to the gateway; add one, or set onlink if it is on the segment.',
	EHOSTUNREACH: 'No connected route leads to the gateway; add one, or set onlink if it is on the segment.',
	ENOBUFS: 'Whether the kernel did it is not known; it is read again and tried again at the next pass.',
	EOPNOTSUPP: 'This kernel does not support it; see the requirements in docs.',
};

/** An error for `errno`; `tried` is a phrase such as `add route 10.0.0.0/24`, `detail` the kernel's own words if any. */
export const kernelError = (errno: number, tried: string, detail = ''): KernelError => {
	let code: string;
	let text: string;
	try {
		code = getSystemErrorName(-errno);
		text = getSystemErrorMessage(-errno) ?? code;
	} catch {
		code = `E${errno}`;
		text = 'unknown error';
	}
	const said = detail === '' ? text : `${text}: ${detail.replace(/\.$/, '')}`;
	const next = advice[code];
	return { errno, code, message: `Could not ${tried}: ${code} (${said}).${next === undefined ? '' : ` ${next}`}` };
};

/** A request that cannot be put into words the kernel knows, such as an address that is none. */
export const invalid = (tried: string, why: string): KernelError => ({
	errno: constants.errno.EINVAL,
	code: 'EINVAL',
	message: `Could not ${tried}: ${why}.`,
});
