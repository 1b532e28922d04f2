import { join } from 'node:path';
import {
	type Backend,
	type Chains,
	createChains,
	createIpsets,
	type ReadSets,
	type Run,
	type SetChange,
} from 'iptables-wrapper';
import type { Problem } from '../src/api/cluster.ts';
import type { Settings } from '../src/config.ts';
import type { Kernel } from '../src/kernel/kernel.ts';
import type { Logger } from '../src/logging.ts';
import type { Family } from '../src/net/ip.ts';
import { createPolicyCalc } from './calc/index.ts';
import { createCniServer } from './cni/server.ts';
import { type Cni, createCni } from './cni/verbs.ts';
import type { WiringDeps } from './cni/wiring.ts';
import { type BackendChoice, chooseBackend, sweepOtherBackend } from './dataplane/backend.ts';
import { createConnectionEnder } from './dataplane/connection-ender.ts';
import { createDataplane, type Dataplane } from './dataplane/dataplane.ts';
import { createDesired } from './dataplane/desired.ts';
import { createHostSysctls, type SysctlAccess } from './dataplane/host-sysctls.ts';
import { createExplain, type ExplainQuery, type ExplainResult } from './explain.ts';
import { createFlows, type Flows, type FlowsDeps } from './flows.ts';
import { createNodeNetwork } from './node-network.ts';
import { createNodePods } from './node-pods.ts';
import { createObjects, keyOfAttachment, type ObjectChange } from './objects.ts';

/**
 * felix put together: objects come in, the policy calculation, the CNI server and the dataplane loop share them, and the
 * kernel is kept in line. Objects are taken as they come; nothing is written before all of them were read once.
 */

export type FelixDeps = {
	readonly settings: Settings;
	readonly kernel: Kernel;
	readonly wiring: Pick<WiringDeps, 'openKernelIn' | 'sysctlsIn'>;
	readonly sysctls: SysctlAccess;
	/** Listens to what rules tell of packets, in the node's netns. */
	readonly openNflog: FlowsDeps['open'];
	/** Runs iptables and ipset in the node's netns. */
	readonly run: Run;
	/** A print of rules and sets that is cheap to take; absent: all is read each time. */
	readonly openRulesPrint?: (backend: Backend) => () => Promise<string | undefined>;
	/** ipsets over netlink, in the node's netns. */
	readonly writeMembers: (changes: readonly SetChange[]) => Promise<boolean>;
	/** The same for reading; absent: a program is asked. */
	readonly readSets?: ReadSets;
	readonly log: Logger;
};

export type Felix = {
	readonly start: () => Promise<void>;
	/** A batch of changes; `inSync` once everything that existed at start was in this or an earlier one. */
	readonly onChanges: (changes: readonly ObjectChange[], inSync: boolean) => void;
	/** Whether all changes taken so far are in the kernel, read back from it; what is not, in words. */
	readonly unsettled: () => Promise<readonly string[]>;
	readonly status: () => FelixStatus;
	/** What becomes of a packet on this node, and why. */
	readonly explain: (query: ExplainQuery) => Promise<ExplainResult>;
	/** What was decided on new connections of late, and from now on. */
	readonly flows: Flows;
	readonly close: () => Promise<void>;
};

export type FelixStatus = {
	readonly podCIDRs: readonly string[];
	readonly backend: string;
	/** Undefined until it was chosen. */
	readonly iptables: BackendChoice | undefined;
	/** Kernel settings that another program changes back time and again. */
	readonly contestedSettings: readonly string[];
	readonly pods: readonly {
		readonly namespace: string;
		readonly name: string;
		readonly addresses: readonly string[];
		readonly interface: string;
	}[];
	readonly routes: { readonly wanted: number; readonly programmed: number };
	readonly policies: number;
	/** Since start, because policies no longer allowed them. */
	readonly connectionsEnded: number;
	readonly problems: readonly Problem[];
	/** What is worth knowing and keeps nothing from working, in sentences. */
	readonly warnings: readonly string[];
	readonly lastError: string;
};

/** The node's rules and sets tell nobody when they are changed: seconds between looks at them. */
const rulesCheckSeconds = 3;
/** How long iptables waits for the xtables lock before somebody is told; it is asked again. */
const lockSeconds = 2;

export const createFelix = ({
	settings,
	kernel,
	wiring,
	sysctls,
	run,
	writeMembers,
	readSets,
	openNflog,
	openRulesPrint,
	log,
}: FelixDeps): Felix => {
	const { nodeName } = settings;
	const calc = createPolicyCalc();
	const network = createNodeNetwork({ settings, kernel, log, pods: calc.pods });
	const pods = createNodePods(nodeName, () => inSync);
	let inSync = false;
	/** The pods found in the kernel are known: writing before would sweep what is theirs. */
	let restored = false;

	let iptables: BackendChoice | undefined;
	let dataplane: Dataplane | undefined;
	let cni: Cni | undefined;
	let closeServer: () => Promise<void> = async () => {};
	let stopWatching = (): void => {};
	let renderSettings = {
		masquerade: settings.masquerade,
		acceptBeforeReject: settings.acceptBeforeReject,
		logging: false,
		sourceRule: false,
	};
	let sweptOther = false;
	const desired = createDesired();
	const ender = createConnectionEnder({
		endConnections: kernel.endConnections,
		isNode: network.isNode,
		later: (milliseconds, action) => void setTimeout(action, milliseconds).unref(),
		now: () => performance.now(),
		log: log.child({ part: 'connections' }),
	});
	const chains: Partial<Record<Family, Chains>> = {};
	const explain = createExplain({
		node: nodeName,
		calc,
		isNode: network.isNode,
		routes: kernel.listRoutes,
		logging: () => renderSettings.logging,
		counters: async (family, table, name) => chains[family]?.counters(table, name) ?? [],
	});
	const flows = createFlows({
		calc,
		isNode: network.isNode,
		open: openNflog,
		later: (milliseconds, action) => void setTimeout(action, milliseconds).unref(),
		log: log.child({ part: 'flows' }),
	});
	const hostSysctls = createHostSysctls(sysctls, join(settings.runDir, 'sysctls.json'), log);

	const objects = createObjects({
		nodeName,
		calc,
		network,
		pods,
		cni: () => cni,
		dataplane: () => dataplane,
		renamed: () => ender.forget(),
	});

	const start = async (): Promise<void> => {
		renderSettings = { ...renderSettings, logging: flows.start() };
		const unguarded = { ...renderSettings, sourceRule: true };
		await network.start(() => {
			network.recompute(inSync);
			dataplane?.wake();
		});
		network.recompute(inSync);
		iptables = await chooseBackend(run, settings.iptablesBackend, log);
		const { backend } = iptables;
		const chainsOf = (family: Family) => {
			const made = createChains({ family, backend, prefix: 'MANX-', run, lockSeconds });
			chains[family] = made;
			return made;
		};
		dataplane = createDataplane({
			kernel,
			chains: { 4: chainsOf(4), 6: chainsOf(6) },
			ipsets: createIpsets({ prefix: 'manx-', run, writeMembers, ...(readSets && { readSets }) }),
			desired: (attachments, guarded) =>
				desired(
					{
						policy: calc.state,
						settings: guarded ? renderSettings : unguarded,
						nonMasqueradeCIDRs: settings.nonMasqueradeCIDRs,
						...network.desired(attachments),
					},
					attachments,
				),
			policiesInForce: (policies) => {
				ender.inForce(policies);
				if (sweptOther) return;
				sweptOther = true;
				void sweepOtherBackend(run, backend, log);
			},
			nodeAddresses: network.addresses,
			settings: hostSysctls.bring,
			log: log.child({ part: 'dataplane' }),
			...(openRulesPrint !== undefined && { rulesPrint: openRulesPrint(backend) }),
			rulesCheckSeconds,
			resyncSeconds: settings.resyncSeconds,
		});
		const plane = dataplane;
		cni = createCni({
			deps: {
				...wiring,
				kernel,
				runDir: settings.runDir,
				log: log.child({ part: 'cni' }),
				clock: { now: Date.now },
				inSync: () => inSync,
				podCIDRs: network.podCIDRs,
				takenElsewhere: network.taken,
				mtu: () => (settings.mtu > 0 ? settings.mtu : network.uplinkMtu()),
				waitForPod: pods.waitFor,
				lastKnown: calc.lastKnown,
				programmed: (attachment) => {
					objects.setLocalPod(keyOfAttachment(attachment), [...objects.wiredBeside(attachment), attachment]);
					return plane.attach(attachment);
				},
				detach: async (attachment) => {
					objects.setLocalPod(keyOfAttachment(attachment), objects.wiredBeside(attachment));
					await plane.detach(attachment.hostInterface);
				},
			},
		});
		const found = await cni.restore();
		for (const attachment of found) {
			if (attachment.podName !== '') objects.setLocalPod(keyOfAttachment(attachment), found);
		}
		plane.adopt(found);
		objects.matchAll();
		if (found.length > 0) log.info({ pods: found.length }, `${found.length} pods found wired, left as they are`);
		hostSysctls.bring();
		stopWatching = kernel.watch((event) => {
			if (event.type !== 'address' && event.type !== 'link') return;
			const name = event.type === 'link' ? event.link.name : event.address.dev;
			if (name.startsWith('manx')) return;
			void network.readInterfaces().then(() => {
				network.recompute(inSync);
				hostSysctls.bring();
				dataplane?.wake();
			});
		});
		const server = createCniServer({
			socketPath: join(settings.runDir, 'cni.sock'),
			handler: cni.handle,
			log: log.child({ part: 'cni' }),
		});
		const listening = await server.listen();
		if (!listening.ok) throw new Error(listening.error);
		closeServer = server.close;
		await cni.start();
		restored = true;
		if (inSync) plane.begin();
	};

	const refusedPolicies = (): Problem[] =>
		(dataplane?.status().refusals ?? []).flatMap(({ policies: names, reason }) => {
			const objects = names.length === 0 ? [`Node ${nodeName}`] : names.map((name) => `NetworkPolicy ${name}`);
			const text = `part of it is not in force, and what it would allow is dropped: ${reason}`;
			return objects.map((object) => ({ object, field: '', code: 'NotInForce', reason: text, node: nodeName }));
		});

	return {
		start,
		onChanges: (changes, nowInSync) => {
			let nodesChanged = false;
			for (const change of changes) if (objects.take(change) === 'nodes') nodesChanged = true;
			const first = nowInSync && !inSync;
			inSync = nowInSync;
			if (nodesChanged || first) network.recompute(inSync);
			if (first) {
				pods.wake();
				if (restored) dataplane?.begin();
			}
			dataplane?.wake();
		},
		unsettled: async () => {
			if (dataplane === undefined) return ['felix is starting'];
			const found = await dataplane.verify();
			return ender.pending() ? [...found, 'connections that policies no longer allow are being ended'] : found;
		},
		status: () => ({
			podCIDRs: network.podCIDRs(),
			backend: iptables === undefined ? '' : `${iptables.backend} (${iptables.reason})`,
			iptables,
			contestedSettings: hostSysctls.contested(),
			pods: [...(dataplane?.attachments().values() ?? [])].map((attachment) => ({
				namespace: attachment.podNamespace,
				name: attachment.podName,
				addresses: attachment.addresses,
				interface: attachment.hostInterface,
			})),
			routes: dataplane?.status().routes ?? { wanted: 0, programmed: 0 },
			policies: objects.policies(),
			connectionsEnded: ender.status().ended,
			problems: [...network.problems(), ...refusedPolicies()],
			warnings: network.warnings(),
			lastError: dataplane?.status().lastError ?? '',
		}),
		explain,
		flows,
		close: async () => {
			stopWatching();
			network.close();
			flows.close();
			await closeServer();
			cni?.close();
			await dataplane?.close();
			await ender.close();
		},
	};
};
