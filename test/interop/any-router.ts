import { startBirdRouter } from './bird-router.ts';
import { startFrr } from './frr-router.ts';
import { startGobgp } from './gobgp-router.ts';
import { addresses, output, prefixes, type Wire } from './harness.ts';

/** The router on a wire by whichever of three programs, for tests that hold for all of them. */

export type AnySession = {
	readonly asNumber: number;
	/** Of the session's addresses; IPv4. Then, without IPv6 next hops for IPv4, that family alone. */
	readonly family?: 'ipv4' | 'ipv6';
	/** Its routes bear 65000:77, 65000:1:2 and the route target 65000:5. */
	readonly communities?: boolean;
	/** It reflects between us and a client at `secondClient`. */
	readonly reflector?: boolean;
	/** Several paths, both ways. */
	readonly addPath?: boolean;
	/** Prefixes of a family that it takes from us. */
	readonly limit?: number;
	/** So many IPv4 prefixes more, from 10.77.0.0/24 on. */
	readonly more?: number;
};

export type AnyRouter = {
	readonly established: () => Promise<boolean>;
	/** All it knows of a prefix, as it prints it. */
	readonly route: (prefix: string) => Promise<string>;
	/** Absent where it cannot. */
	readonly askForRefresh?: () => Promise<void>;
	/** UPDATEs, or routes in them, that came from us. */
	readonly heard: () => Promise<number>;
	/** Whether we have asked it for a refresh. */
	readonly wasAsked: () => Promise<boolean>;
	readonly describe: () => Promise<string>;
};

/** On the first branch of a wire, which is reached by way of the node. */
export const secondClient = '10.9.1.2';

const morePrefixes = (count = 0): string[] => Array.from({ length: count }, (_, i) => `10.77.${i}.0/24`);

type StartAny = (wire: Wire, session: AnySession) => Promise<AnyRouter>;

const marks =
	'bgp_community.add((65000,77)); bgp_large_community.add((65000,1,2)); bgp_ext_community.add((rt,65000,5));';
/** For the channels of a BIRD. */
export const markedExport = `export filter { if source = RTS_DEVICE then reject; ${marks} accept; };`;

const bird: StartAny = async (wire, session) => {
	const { asNumber, family = 'ipv4', communities, reflector, addPath, limit, more = 0 } = session;
	const many = morePrefixes(more).map((prefix) => `route ${prefix} blackhole;`);
	const channel =
		(communities ? markedExport : '') +
		(addPath ? 'add paths on;' : '') +
		(limit === undefined ? '' : `import limit ${limit} action disable;`);
	const router = startBirdRouter(wire, {
		asNumber,
		options: `debug { packets }; ${reflector ? 'rr client;' : ''}`,
		channel,
		...(family === 'ipv6' && {
			body: `local ${addresses.router.ipv6} as ${asNumber};
			neighbor ${addresses.node.ipv6} as 64512;
			ipv6 { import all; export where source != RTS_DEVICE; ${channel} };`,
		}),
		...(reflector && {
			body: `local ${addresses.router.ipv4} as ${asNumber};
			neighbor ${addresses.node.ipv4} as ${asNumber};
			ipv4 { import all; export where source = RTS_BGP; };`,
			more: `protocol static far { ipv4; route 10.9.0.0/16 via ${addresses.node.ipv4}; }
			protocol bgp second {
				local ${addresses.router.ipv4} as ${asNumber};
				neighbor ${secondClient} as ${asNumber};
				rr client;
				passive;
				ipv4 { import all; export where source = RTS_BGP; };
			}`,
		}),
		...(more > 0 && { more: `protocol static many { ipv4; ${many.join(' ')} }` }),
	});
	const details = (): Promise<string> => router.birdc('show protocols all manx');
	return {
		established: router.established,
		route: (prefix) => router.birdc(`show route for ${prefix} all`),
		askForRefresh: async () => {
			await router.birdc('reload in manx');
		},
		heard: async () => Number(/Import updates: +(\d+)/.exec(await details())?.[1]),
		wasAsked: async () => /Got ROUTE-REFRESH/i.test(router.log()),
		describe: async () =>
			`${await router.birdc('show protocols all')}\n${await router.birdc('show route all')}\n${router.log()}`,
	};
};

const frr: StartAny = async (wire, session) => {
	const { asNumber, family = 'ipv4', communities, reflector, addPath, limit, more } = session;
	const node = addresses.node[family];
	const router = await startFrr(wire);
	const neighbours = [node, ...(reflector ? [secondClient] : [])];
	const lines = [
		'activate',
		'send-community all',
		...(reflector ? ['route-reflector-client'] : []),
		...(addPath ? ['addpath-tx-all-paths'] : []),
		...(limit === undefined ? [] : [`maximum-prefix ${limit}`]),
	];
	const part = (of: 'ipv4' | 'ipv6', prefix: string): string => ` address-family ${of} unicast
${[prefix, ...(of === 'ipv4' ? morePrefixes(more) : [])].map((one) => `  network ${one}${communities ? ' route-map mark' : ''}`).join('\n')}
${neighbours.flatMap((neighbour) => lines.map((line) => `  neighbor ${neighbour} ${line}`)).join('\n')}
 exit-address-family`;
	router.start(
		'bgpd',
		`
router bgp ${asNumber}
 bgp router-id ${addresses.router.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
${neighbours.map((neighbour) => ` neighbor ${neighbour} remote-as 64512\n neighbor ${neighbour} timers connect 1`).join('\n')}
${family === 'ipv4' ? part('ipv4', prefixes.router[0]) : ''}
${part('ipv6', prefixes.router[1])}
route-map mark permit 10
 set community 65000:77
 set large-community 65000:1:2
 set extcommunity rt 65000:5
`,
	);
	type Stats = { readonly updatesRecv: number; readonly routeRefreshRecv: number };
	const stats = async (): Promise<Stats | undefined> => {
		const text = await router.vtysh(`show bgp neighbors ${node} json`);
		return text.trim() === ''
			? undefined
			: (JSON.parse(text) as Record<string, { messageStats?: Stats }>)[node]?.messageStats;
	};
	return {
		established: () => router.established(node),
		route: (prefix) => router.vtysh(`show bgp ${prefix.includes(':') ? 'ipv6' : 'ipv4'} unicast ${prefix}`),
		askForRefresh: async () => {
			await router.vtysh(`clear bgp ipv4 unicast ${node} soft in`);
		},
		heard: async () => (await stats())?.updatesRecv ?? 0,
		wasAsked: async () => ((await stats())?.routeRefreshRecv ?? 0) > 0,
		describe: async () => `${await router.vtysh(`show bgp neighbors ${node}`)}\n${router.logs()}`,
	};
};

const gobgp: StartAny = async (wire, session) => {
	const { asNumber, family = 'ipv4', communities, reflector, addPath, limit, more } = session;
	const node = addresses.node[family];
	const neighbour = (address: string, more = '') => ({
		address,
		tables:
			`[neighbors.transport.config]\nlocal-address = "${addresses.router[family]}"\n${more}` +
			(reflector
				? '[neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = "192.0.2.2"\n'
				: ''),
		family:
			(addPath ? '[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n' : '') +
			(limit === undefined ? '' : `[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = ${limit}\n`),
	});
	const router = await startGobgp(wire, {
		asNumber,
		routerId: addresses.router.ipv4,
		addresses: [addresses.router[family]],
		neighbours: [neighbour(node), ...(reflector ? [neighbour(secondClient, 'passive-mode = true\n')] : [])],
	});
	const marked = communities ? ' community 65000:77 large-community 65000:1:2 rt 65000:5' : '';
	for (const prefix of [prefixes.router[0], ...morePrefixes(more)]) {
		await router.gobgp(`global rib add ${prefix} nexthop ${addresses.router.ipv4}${marked}`);
	}
	await router.gobgp(`global rib add -a ipv6 ${prefixes.router[1]} nexthop ${addresses.router.ipv6}${marked}`);
	type Messages = { readonly received?: { readonly update?: string; readonly refresh?: string } };
	const received = async (): Promise<NonNullable<Messages['received']>> => {
		const text = await output('ip', ['netns', 'exec', wire.router, 'gobgp', '-j', 'neighbor', node]).catch(() => '');
		if (text === '') return {};
		return (JSON.parse(text) as { state?: { messages?: Messages } }).state?.messages?.received ?? {};
	};
	return {
		established: () => router.established(node),
		route: (prefix) => router.gobgp(`global rib ${prefix.includes(':') ? '-a ipv6 ' : ''}${prefix}`),
		// Its soft reset goes over what it keeps of us; it asks nobody.
		heard: async () => Number((await received()).update ?? 0),
		wasAsked: async () => Number((await received()).refresh ?? 0) > 0,
		describe: async () => `${await router.gobgp(`neighbor ${node}`)}\n${router.log()}`,
	};
};

export const anyRouters = { 'BIRD 2': bird, FRR: frr, GoBGP: gobgp } as const;
