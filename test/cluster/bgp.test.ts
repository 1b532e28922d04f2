import { after, before, describe } from 'node:test';
import { ranges, serviceTests } from './bgp-services.ts';
import { sessionTests } from './bgp-sessions.ts';
import { topologyTests } from './bgp-topologies.ts';
import { bringUp, type Harness, webDaemonSet } from './harness.ts';
import { manx } from './manx-object.ts';
import { fabricAddress } from './network.ts';
import { type Rack, startRack, torAsNumber } from './rack.ts';

/** A cluster below a top-of-rack router that speaks BGP, and a client of the outside behind it. */

describe('BGP with the router of the rack', { timeout: 1_800_000 }, () => {
	let cluster: Harness;
	let rack: Rack;

	before(async () => {
		cluster = await bringUp('bgp');
		rack = await startRack(cluster);
		await cluster.installManx();
		await cluster.api.apply([
			manx('BGPPeer', 'tor', { peerIP: fabricAddress, asNumber: torAsNumber }),
			manx('BGPConfiguration', 'default', ranges),
		]);
		await cluster.untilNodesReady();
		await cluster.api.apply([webDaemonSet]);
	});
	after(async () => {
		await rack?.stop();
		await cluster?.down();
	});

	describe('topologies', () => topologyTests(() => ({ cluster, rack })));
	describe('sessions', () => sessionTests(() => ({ cluster, rack })));
	describe('addresses of Services', () => serviceTests(() => ({ cluster, rack })));
});
