import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { routerPeer, speakerConfig } from '../interop/harness.ts';
import { capability, open, parameter, parameters, u32 } from './build.ts';
import type { SessionKind } from './cases.ts';

/** The peers of the tables: who they are to the speaker, and the OPEN each says. All dial from the router's end of the wire. */

export type Session = {
	readonly address: string;
	/** Hex. */
	readonly open: string;
	readonly ipv6: boolean;
	/** In front of each prefix of IPv4. */
	readonly pathId: string;
	readonly config: Partial<PeerConfig>;
};

const ipv4 = capability(1, '00010001');
const ipv6 = capability(1, '00020001');
const refresh = capability(2) + capability(70);
const both = (...more: string[]): string => parameters(parameter(2, [ipv4, ipv6, refresh, ...more].join('')));
const id = (host: number): string => `c00002${host.toString(16).padStart(2, '0')}`;
const four = (asNumber: number): string => capability(65, u32(asNumber));

const external = (host: number, capabilities: string, more: Partial<Session> = {}): Session => ({
	address: `192.0.2.${host}`,
	open: open({ id: id(host), parameters: capabilities }),
	ipv6: true,
	pathId: '',
	config: {},
	...more,
});

export const sessions: Readonly<Record<SessionKind | 'observer', Session>> = {
	eBGP: external(2, both(four(65000))),
	iBGP: {
		...external(3, ''),
		open: open({ as: 64512, id: id(3), parameters: both(four(64512)) }),
		config: { asNumber: 64512 },
	},
	'eBGP, 2-octet AS': external(4, both()),
	'eBGP, add-path': external(5, both(four(65000), capability(69, '00010102')), {
		pathId: '00000001',
		config: { addPath: { receive: true, sendPaths: 0 } },
	}),
	'eBGP, long messages': external(6, both(four(65000), capability(6))),
	'eBGP, customer': external(7, both(four(65000), capability(9, '00')), {
		config: { role: 'customer', strictRole: true },
	}),
	/** Told everything, as route reflector's client: what it reads tells what was taken from the others. */
	observer: {
		...external(9, ''),
		open: open({ as: 64512, id: id(9), parameters: both(four(64512), capability(6)) }),
		config: { asNumber: 64512, routeReflectorClient: true },
	},
};

export const abuseConfig = (): SpeakerConfig =>
	speakerConfig(routerPeer(), {
		peers: Object.entries(sessions).map(([name, { address, config }]) =>
			routerPeer({ name, address, passive: true, ...config }),
		),
	});
