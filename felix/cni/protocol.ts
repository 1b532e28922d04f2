/**
 * The framing between the CNI plugin (shim.c) and felix on `<runDir>/cni.sock`, also the content of a remembered DEL.
 * Request: `MNX1`, u32 length of the environment, u32 length of stdin, `NAME=VALUE\0`..., stdin.
 * Reply: `MNX1`, u32 exit code, u32 length, stdout. Integers are big-endian; one request a connection.
 */

export type CniRequest = {
	/** The CNI_ variables. */
	readonly env: ReadonlyMap<string, string>;
	readonly stdin: string;
};

/** What the plugin prints on stdout and exits with. */
export type CniReply = { readonly exitCode: number; readonly stdout: string };

export const maxEnvironment = 64 * 1024;
export const maxStdin = 1024 * 1024;

const magic = 'MNX1';
const headerLength = 12;

export type DecodedRequest =
	| { readonly type: 'incomplete' }
	| { readonly type: 'malformed'; readonly reason: string }
	| { readonly type: 'request'; readonly request: CniRequest };

/** Decodes what has arrived so far. */
export const decodeRequest = (bytes: Buffer): DecodedRequest => {
	const start = bytes.toString('latin1', 0, 4);
	if (!magic.startsWith(start)) return { type: 'malformed', reason: 'the peer does not speak the protocol of shim.c' };
	if (bytes.length < headerLength) return { type: 'incomplete' };
	const envLength = bytes.readUInt32BE(4);
	const stdinLength = bytes.readUInt32BE(8);
	if (envLength > maxEnvironment || stdinLength > maxStdin) {
		return { type: 'malformed', reason: `${envLength} bytes of environment and ${stdinLength} of stdin are too many` };
	}
	const total = headerLength + envLength + stdinLength;
	if (bytes.length < total) return { type: 'incomplete' };
	if (bytes.length > total) return { type: 'malformed', reason: `${bytes.length - total} bytes after the request` };
	const env = new Map<string, string>();
	for (const entry of bytes.toString('utf8', headerLength, headerLength + envLength).split('\0')) {
		const equals = entry.indexOf('=');
		if (equals > 0) env.set(entry.slice(0, equals), entry.slice(equals + 1));
	}
	return { type: 'request', request: { env, stdin: bytes.toString('utf8', headerLength + envLength) } };
};

export const encodeRequest = (request: CniRequest): Buffer => {
	const env = Buffer.from([...request.env].map(([name, value]) => `${name}=${value}\0`).join(''));
	const stdin = Buffer.from(request.stdin);
	return Buffer.concat([header(env.length, stdin.length), env, stdin]);
};

export const encodeReply = (reply: CniReply): Buffer => {
	const stdout = Buffer.from(reply.stdout);
	return Buffer.concat([header(reply.exitCode, stdout.length), stdout]);
};

const header = (first: number, second: number): Buffer => {
	const bytes = Buffer.alloc(headerLength);
	bytes.write(magic, 'latin1');
	bytes.writeUInt32BE(first, 4);
	bytes.writeUInt32BE(second, 8);
	return bytes;
};
