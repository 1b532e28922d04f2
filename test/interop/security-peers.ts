import { startBirdRouter } from './bird-router.ts';
import { startFrr } from './frr-router.ts';
import { startGobgp } from './gobgp-router.ts';
import { addresses, type Wire } from './harness.ts';

/** The routers of others with what protects a session, live to be changed. */

export type Protection = { readonly password?: string; readonly gtsm?: boolean; readonly passive?: boolean };
export type Family = 'ipv4' | 'ipv6';
export type ProtectedPeer = {
	readonly change: (protection: Protection) => Promise<void>;
	readonly established: () => Promise<boolean>;
	readonly describe: () => Promise<string>;
};
export type StartPeer = (wire: Wire, family: Family, protection: Protection) => Promise<ProtectedPeer>;

const bird: StartPeer = async (wire, family, first) => {
	const session = ({ password, gtsm, passive }: Protection) => ({
		options:
			`${passive ? 'passive;' : ''} ${gtsm ? 'ttl security on;' : ''}` +
			(password === undefined ? '' : `password "${password}";`),
		body: `local ${addresses.router[family]} as 65000;
		neighbor ${addresses.node[family]} as 64512;
		ipv4 { import all; export none; };`,
	});
	const router = startBirdRouter(wire, session(first));
	return {
		change: (protection) => router.reconfigure(session(protection)),
		established: router.established,
		describe: () => router.birdc('show protocols all manx'),
	};
};

const frr: StartPeer = async (wire, family, first) => {
	const node = addresses.node[family];
	const router = await startFrr(wire);
	const lines = ({ password, gtsm, passive }: Protection): string[] => [
		password === undefined ? `no neighbor ${node} password` : `neighbor ${node} password ${password}`,
		gtsm ? `neighbor ${node} ttl-security hops 1` : `no neighbor ${node} ttl-security hops 1`,
		passive ? `neighbor ${node} passive` : `no neighbor ${node} passive`,
	];
	router.start(
		'bgpd',
		`
router bgp 65000
 bgp router-id ${addresses.router.ipv4}
 no bgp ebgp-requires-policy
 neighbor ${node} remote-as 64512
 neighbor ${node} timers connect 1
${lines(first)
	.filter((line) => !line.startsWith('no '))
	.map((line) => ` ${line}`)
	.join('\n')}
`,
	);
	let now = first;
	return {
		change: async (next) => {
			const before = new Set(lines(now));
			now = next;
			await router.vtysh('configure terminal', 'router bgp 65000', ...lines(next).filter((line) => !before.has(line)));
		},
		established: () => router.established(node),
		describe: async () => `${await router.vtysh(`show bgp neighbors ${node}`)}\n${router.logs()}`,
	};
};

const gobgp: StartPeer = async (wire, family, first) => {
	const node = addresses.node[family];
	const neighbour = ({ password, gtsm, passive }: Protection) => ({
		address: node,
		config: password === undefined ? '' : `auth-password = "${password}"`,
		tables:
			`[neighbors.transport.config]\nlocal-address = "${addresses.router[family]}"\n` +
			`${passive ? 'passive-mode = true\n' : ''}` +
			`${gtsm ? '[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n' : ''}`,
	});
	const router = await startGobgp(wire, {
		asNumber: 65000,
		routerId: addresses.router.ipv4,
		addresses: [addresses.router[family]],
		neighbours: [neighbour(first)],
	});
	return {
		change: async (protection) => router.reconfigure([neighbour(protection)]),
		established: () => router.established(node),
		describe: async () => `${await router.gobgp(`neighbor ${node}`)}\n${router.log()}`,
	};
};

export const protectedPeers = { 'BIRD 2': bird, FRR: frr, GoBGP: gobgp } as const;
