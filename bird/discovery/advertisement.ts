/** The two ICMPv6 messages by which routers on a link find each other (RFC 4861 §4.1, §4.2), after the IPv6 header. Pure. */

export const ROUTER_SOLICITATION = 133;
export const ROUTER_ADVERTISEMENT = 134;

const HEADER = { [ROUTER_SOLICITATION]: 8, [ROUTER_ADVERTISEMENT]: 16 } as const;

/** "Is there a router?" Checksums are the kernel's to fill in (raw(7), RFC 3542 §3.1). */
export const encodeSolicitation = (): Uint8Array => Uint8Array.of(ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0);

/** "A router is here", and with lifetime 0: not one for everything. No option says more: it is for other routers alone. */
export const encodeAdvertisement = (): Uint8Array => {
	const bytes = new Uint8Array(HEADER[ROUTER_ADVERTISEMENT]);
	bytes[0] = ROUTER_ADVERTISEMENT;
	return bytes;
};

/** Which of the two a message is; undefined when it is neither, or breaks a rule of RFC 4861 §6.1 on its bytes. */
export const readDiscovery = (bytes: Uint8Array): 'solicitation' | 'advertisement' | undefined => {
	const [type, code] = bytes;
	if (code !== 0 || (type !== ROUTER_SOLICITATION && type !== ROUTER_ADVERTISEMENT)) return undefined;
	let at: number = HEADER[type];
	if (bytes.length < at) return undefined;
	// Options, in units of eight octets, of which none has none.
	while (at < bytes.length) {
		const length = (bytes[at + 1] ?? 0) * 8;
		if (length === 0 || at + length > bytes.length) return undefined;
		at += length;
	}
	return type === ROUTER_SOLICITATION ? 'solicitation' : 'advertisement';
};
