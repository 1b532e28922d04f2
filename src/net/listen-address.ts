import { canonicalAddress } from './ip.ts';

export type ListenAddress = { readonly host: string; readonly port: number };

/** `127.0.0.1`, `[::1]:9100`, `10.0.0.1:9100`, `::1`; undefined when the text is none of these. */
export const parseListenAddress = (text: string, defaultPort: number): ListenAddress | undefined => {
	const match = /^(?:\[([0-9a-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?::(\d{1,5}))?$|^([0-9a-f]*:[0-9a-f:.]+)$/i.exec(text);
	const host = match?.[1] ?? match?.[2] ?? match?.[4];
	if (host === undefined || canonicalAddress(host) === undefined) return undefined;
	const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
	return port < 1 || port > 65535 ? undefined : { host, port };
};
