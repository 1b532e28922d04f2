import { familyOf, hostCidr } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import type { CniVersion, Netconf } from './netconf.ts';
import { gateways, hostMac } from './wiring.ts';

/** The result of an ADD as the asked version has it. `ips[].version` ended with 0.4.0, `interfaces[].mtu` began with 1.1.0. */
export const addResult = (
	attachment: Attachment,
	netconf: Pick<Netconf, 'cniVersion' | 'dns'>,
	mtu: number,
): Record<string, unknown> => {
	const { cniVersion, dns } = netconf;
	const withMtu = cniVersion === '1.1.0' ? { mtu } : {};
	const families = attachment.addresses.map(familyOf);
	return {
		cniVersion,
		interfaces: [
			{ name: attachment.hostInterface, mac: hostMac, ...withMtu },
			{ name: attachment.ifname, mac: attachment.mac, sandbox: attachment.netns, ...withMtu },
		],
		ips: attachment.addresses.map((address) => ({
			...(hasIpVersion(cniVersion) && { version: String(familyOf(address)) }),
			address: hostCidr(address),
			gateway: gateways[familyOf(address)],
			interface: 1,
		})),
		routes: families.map((family) => ({ dst: family === 4 ? '0.0.0.0/0' : '::/0', gw: gateways[family] })),
		dns,
	};
};

const hasIpVersion = (version: CniVersion): boolean => version === '0.3.1' || version === '0.4.0';

/** How a cached result of any version differs from the attachment; undefined when it agrees. */
export const resultDiffers = (prevResult: Record<string, unknown>, attachment: Attachment): string | undefined => {
	const ips = Array.isArray(prevResult.ips) ? prevResult.ips : [];
	const had = ips.map((ip: { address?: unknown }) => String(ip?.address)).sort();
	const have = attachment.addresses.map(hostCidr).sort();
	// Plugins after us may add addresses of their own interfaces; ours must all be there.
	const missing = have.filter((cidr) => !had.includes(cidr));
	if (missing.length > 0) return `prevResult lacks ${missing.join(', ')} (it has ${had.join(', ') || 'no address'})`;
	const interfaces = Array.isArray(prevResult.interfaces) ? prevResult.interfaces : [];
	const own = interfaces.find(
		(one: { name?: unknown; sandbox?: unknown }) => one?.name === attachment.ifname && Boolean(one?.sandbox),
	);
	if (own === undefined) return `prevResult lacks the interface ${attachment.ifname}`;
	if (typeof own.mac === 'string' && own.mac.toLowerCase() !== attachment.mac) {
		return `prevResult has MAC ${own.mac} for ${attachment.ifname}, felix ${attachment.mac}`;
	}
	return undefined;
};
