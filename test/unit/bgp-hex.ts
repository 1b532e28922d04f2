import { type CodecOptions, createFramer, type Decoded, decodeMessage, type Message } from 'bgp-js-lite';

/** Bytes of hex text; blanks are for the reader. */
export const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
export const toHex = (value: Uint8Array): string => Buffer.from(value).toString('hex');
export const compact = (hex: string): string => hex.replaceAll(/\s/g, '');

/** A message with its header around hex of its body. */
export const message = (type: number, body: string): Uint8Array => {
	const content = bytes(body);
	const length = content.length + 19;
	return Uint8Array.of(...new Array<number>(16).fill(255), length >> 8, length & 255, type, ...content);
};

export const hexLength = (hex: string): string => (compact(hex).length / 2).toString(16).padStart(4, '0');

/** Body of an UPDATE from hex of its three fields. */
export const updateBody = (fields: { withdrawn?: string; attributes?: string; nlri?: string }): string => {
	const { withdrawn = '', attributes = '', nlri = '' } = fields;
	return hexLength(withdrawn) + withdrawn + hexLength(attributes) + attributes + nlri;
};

export const EBGP: CodecOptions = { fourOctetAs: true, ibgp: false, maxMessageLength: 4096 };
export const IBGP: CodecOptions = { ...EBGP, ibgp: true };

/** One whole message through framer and decoder. */
export const decodeWhole = (whole: Uint8Array, options: CodecOptions = EBGP): Decoded<Message> => {
	const framer = createFramer(options.maxMessageLength);
	framer.push(whole);
	const frame = framer.next();
	if (frame === undefined) throw new Error('the message is not complete');
	return frame.ok ? decodeMessage(frame.value.type, frame.value.body, options) : frame;
};
