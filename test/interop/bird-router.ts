import { join } from 'node:path';
import { addresses, type Branch, prefixes as harness, output, type Process, type Wire } from './harness.ts';

/** BIRD 2 as the router on a wire, its BGP session as a test wants it. */

export type BirdRouter = Process & {
	readonly birdc: (command: string) => Promise<string>;
	/** Replaces the options of the session, live. */
	readonly reconfigure: (session: BirdSession) => Promise<void>;
	readonly established: () => Promise<boolean>;
};

export type BirdSession = {
	readonly asNumber?: number;
	/** Where it is, when not in `router`. */
	readonly at?: Branch;
	/** Where two share a namespace. */
	readonly name?: string;
	/** Prefixes it has as static routes. */
	readonly prefixes?: readonly [string, string];
	/** Lines of the protocol. */
	readonly options?: string;
	/** Lines of both channels. */
	readonly channel?: string;
	/** Instead of both channels and the addresses. */
	readonly body?: string;
	/** More protocols. */
	readonly more?: string;
};

const text = ({
	asNumber = 65000,
	at = { netns: '', ...addresses },
	prefixes = harness.router,
	options = '',
	channel = '',
	body,
	more = '',
}: BirdSession): string => `
router id ${at.router.ipv4};
log stderr all;
protocol device {}
protocol direct { ipv4; ipv6; }
protocol kernel { persist; ipv4 { import none; export where source != RTS_DEVICE; }; }
protocol kernel { persist; ipv6 { import none; export where source != RTS_DEVICE; }; }
protocol static s4 { ipv4; route ${prefixes[0]} blackhole; }
protocol static s6 { ipv6; route ${prefixes[1]} blackhole; }
${more}
protocol bgp manx {
	graceful restart;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	${options}
	${
		body ??
		`local ${at.router.ipv4} as ${asNumber};
	neighbor ${at.node.ipv4} as 64512;
	ipv4 { import all; export where source != RTS_DEVICE; next hop self; ${channel} };
	ipv6 { import all; export where source != RTS_DEVICE; next hop address ${at.router.ipv6}; ${channel} };`
	}
}
`;

export const startBirdRouter = (wire: Wire, session: BirdSession = {}): BirdRouter => {
	const netns = session.at?.netns ?? wire.router;
	const name = session.name ?? `bird-${netns}`;
	const control = join(wire.folder, `${name}.ctl`);
	const conf = wire.file(`${name}.conf`, text(session));
	const bird = wire.start(netns, 'bird', ['-f', '-c', conf, '-s', control, '-P', join(wire.folder, `${name}.pid`)]);
	const birdc = (command: string): Promise<string> =>
		output('birdc', ['-s', control, ...command.split(' ')]).catch(() => '');
	return {
		...bird,
		birdc,
		reconfigure: async (next) => {
			wire.file(`${name}.conf`, text(next));
			await birdc('configure');
		},
		established: async () => /BGP state: +Established/.test(await birdc('show protocols all manx')),
	};
};
