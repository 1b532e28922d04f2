import { isDeepStrictEqual } from 'node:util';
import type { Pod } from '../../src/api/objects.ts';
import type { Attachment } from '../attachment.ts';
import type { LastKnown } from '../calc/types.ts';
import { createAttachments } from './attachments.ts';
import { checkAttachment } from './check.ts';
import type { CniDeps } from './deps.ts';
import { type CniError, cniCodes, cniError, errorReply } from './errors.ts';
import type { PoolUsage } from './ipam.ts';
import { createKeyLock } from './key-lock.ts';
import {
	type AttachmentId,
	answerVersion,
	type Netconf,
	type PodEnvironment,
	parseCommand,
	parseNetconf,
	parsePodEnvironment,
	supportedVersions,
} from './netconf.ts';
import { identifyNetns } from './netns-id.ts';
import { createPendingDels } from './pending-dels.ts';
import { createPodWait } from './pod-wait.ts';
import type { CniReply, CniRequest } from './protocol.ts';
import { type AttachmentRecord, aliasOf, attachmentKey } from './records.ts';
import { addResult } from './result.ts';
import { hostInterfaceOf, inspectPod, isHostInterface, podMac, unwirePod, wirePod } from './wiring.ts';

/**
 * The CNI verbs. Requests for one container and interface are done one after the other, all others side by side.
 * An ADD is answered once the pod's routes and policies are in the kernel and its record is on disk; whatever fails
 * before undoes what was done. A DEL is fine with anything being gone already.
 */
export type { CniDeps } from './deps.ts';

export type Cni = {
	/** Answers one request; never throws for what a caller sends. */
	readonly handle: (request: CniRequest) => Promise<CniReply>;
	/** Reads links and records, once, before `start` and `handle`: the attachments found are to be programmed. */
	readonly restore: () => Promise<readonly Attachment[]>;
	/** Does remembered DELs, now and as they come, and watches for veths that vanish. */
	readonly start: () => Promise<void>;
	readonly attachments: () => readonly Attachment[];
	/** What the record of a pod's interface says of the pod. */
	readonly lastKnown: (attachment: Attachment) => LastKnown | undefined;
	/** Something changed in what is known of a pod, or (without a name) of a namespace: brings the records up to date. */
	readonly remember: (namespace: string, name?: string) => void;
	/** Gives an attachment restored without a record the names of its pod. */
	readonly adopt: (attachment: Attachment, pod: Pod) => Attachment;
	readonly usage: () => readonly PoolUsage[];
	readonly close: () => void;
};

const ok = (stdout = ''): CniReply => ({ exitCode: 0, stdout });

export const createCni = ({ deps }: { readonly deps: CniDeps }): Cni => {
	const { log, kernel } = deps;
	const state = createAttachments({ runDir: deps.runDir, clock: deps.clock, log });
	const locks = createKeyLock();
	const podWait = createPodWait(deps);
	let unwatch = (): void => {};

	const add = async (netconf: Netconf, env: PodEnvironment): Promise<CniReply | CniError> => {
		const key = attachmentKey(env);
		const netnsId = identifyNetns(env.netns);
		if (typeof netnsId === 'object') return netnsId;
		if (pendingDels.has(key)) {
			const failure = await del(env);
			if (failure !== undefined) return failure;
		}
		const unknown = await podWait.wait(env);
		if (unknown !== undefined) return unknown;

		const existing = state.get(key);
		state.ipam.setPools(deps.podCIDRs(), deps.takenElsewhere?.());
		const allocation = state.ipam.allocate(key);
		if (!allocation.ok) {
			if (deps.podCIDRs().length > 0) return cniError(cniCodes.exhausted, 'no free address', allocation.error);
			return cniError(cniCodes.tryLater, 'no podCIDR', `${allocation.error}: try again once its Node object has one`);
		}
		const { containerID, ifname, netns, podNamespace, podName, podUID } = env;
		const attachment: Attachment = {
			containerID,
			ifname,
			netns,
			podNamespace,
			podName,
			podUID,
			addresses: allocation.addresses,
			hostInterface: hostInterfaceOf(containerID, ifname),
			mac: podMac(containerID, ifname),
			...(netconf.shaped && { shaped: true }),
		};
		const mtu = existing !== undefined && existing.mtu > 0 ? existing.mtu : deps.mtu();
		let reached = false;
		const program = (): Promise<string | undefined> => {
			reached = true;
			return deps.programmed(attachment);
		};
		const sameNetns = existing !== undefined && ['', netnsId].includes(existing.netnsId);
		const failure = await wire(attachment, mtu, sameNetns, program).catch((error: unknown) => String(error));
		if (failure !== undefined) {
			// A pod that ran before keeps what it has: only a first ADD is undone.
			if (existing === undefined) await undo(attachment, reached);
			return cniError(cniCodes.wiringFailed, 'wiring the pod failed', `${podNamespace}/${podName}: ${failure}`);
		}
		const result = addResult(attachment, netconf, mtu);
		state.put(upToDate({ attachment, network: netconf.name, netnsId, mtu, result }));
		return ok(`${JSON.stringify(result)}\n`);
	};

	/** The record with what is known of its pod now; the same record when it says so already, or nothing is known. */
	const upToDate = (record: AttachmentRecord): AttachmentRecord => {
		const { podNamespace, podName, podUID } = record.attachment;
		const lastKnown = deps.lastKnown(`${podNamespace}/${podName}`);
		// A pod made anew under the name of one whose interface is still here is another pod.
		if (lastKnown === undefined || (podUID !== '' && lastKnown.uid !== '' && podUID !== lastKnown.uid)) return record;
		return isDeepStrictEqual(record.lastKnown, lastKnown) ? record : { ...record, lastKnown };
	};

	/** Makes the pair, or brings it in order when it is there: the same veth if possible, a new one else. Programs it. */
	const wire = async (
		attachment: Attachment,
		mtu: number,
		sameNetns: boolean,
		whenUp: () => Promise<string | undefined>,
	): Promise<string | undefined> => {
		const options = { alias: aliasOf(attachment), mtu, existing: false, whenUp };
		if (sameNetns) {
			const { paired, problems } = await inspectPod(deps, attachment, options.alias);
			if (problems.length === 0) return whenUp();
			log.warn({ containerID: attachment.containerID, problems }, 'repairing a pod at its repeated ADD');
			const failure = paired ? await wirePod(deps, attachment, { ...options, existing: true }) : 'not paired';
			if (failure === undefined) return undefined;
			if (failure !== 'not paired' && failure.stage === 'program') return failure.error;
		}
		const failure = await wirePod(deps, attachment, options);
		if (failure?.stage !== 'create' || !(await hasLink(attachment.hostInterface))) return failure?.error;
		// A leftover of a felix that died, or a pair whose other end is elsewhere.
		return (await unwirePod(deps, attachment.hostInterface)) ?? (await wirePod(deps, attachment, options))?.error;
	};

	const hasLink = async (name: string): Promise<boolean> =>
		(await kernel.listLinks()).some((link) => link.name === name);

	const undo = async (attachment: Attachment, reached: boolean): Promise<void> => {
		const key = attachmentKey(attachment);
		if (reached) await detach(attachment);
		const stuck = await unwirePod(deps, attachment.hostInterface);
		if (stuck !== undefined) log.error({ ...attachment }, `undoing a failed ADD: ${stuck}`);
		// Nobody has seen an address that was never routed; one that was is left to cool down.
		if (!reached && stuck === undefined) state.ipam.cancel(key);
		else state.remove(key);
	};

	const detach = async (attachment: Attachment): Promise<void> => {
		try {
			await deps.detach(attachment);
		} catch (error) {
			log.error(
				{ containerID: attachment.containerID, error: String(error) },
				'detaching a pod failed; its veth goes all the same',
			);
		}
	};

	const del = async (id: AttachmentId): Promise<CniError | undefined> => {
		const key = attachmentKey(id);
		const record = state.get(key);
		if (record !== undefined) await detach(record.attachment);
		const stuck = await unwirePod(deps, hostInterfaceOf(id.containerID, id.ifname));
		if (stuck !== undefined) return cniError(cniCodes.ioFailure, 'removing the pod interface failed', stuck);
		for (const address of state.ipam.addressesOf(key)) {
			try {
				await kernel.deleteConntrack(address);
			} catch (error) {
				log.warn({ address, error: String(error) }, 'deleting the conntrack entries of a released address failed');
			}
		}
		state.remove(key);
		pendingDels.forget(key);
		return undefined;
	};

	const gc = async (netconf: Netconf): Promise<CniError | undefined> => {
		if (netconf.validAttachments === undefined) {
			const details = 'GC needs cni.dev/valid-attachments: without it nothing is deleted';
			return cniError(cniCodes.invalidConfig, 'invalid network configuration', details);
		}
		const valid = new Set(netconf.validAttachments.map(attachmentKey));
		const failures: string[] = [];
		for (const { attachment, network } of state.all()) {
			const key = attachmentKey(attachment);
			if (valid.has(key) || (network !== '' && network !== netconf.name)) continue;
			const failure = await locks.run(key, () => del(attachment));
			if (failure !== undefined) failures.push(failure.details);
		}
		const kept = new Set(state.all().map(({ attachment }) => attachment.hostInterface));
		for (const { containerID, ifname } of netconf.validAttachments) kept.add(hostInterfaceOf(containerID, ifname));
		if (locks.idle()) {
			for (const { name, kind } of await kernel.listLinks()) {
				if (kind !== 'veth' || !isHostInterface(name) || kept.has(name)) continue;
				const stuck = await unwirePod(deps, name);
				if (stuck !== undefined) failures.push(stuck);
			}
		}
		return failures.length === 0
			? undefined
			: cniError(cniCodes.ioFailure, 'GC could not delete all', failures.join('; '));
	};

	const status = (): CniError | undefined => {
		const fail = (details: string): CniError => cniError(cniCodes.notAvailable, 'felix is not ready', details);
		if (!deps.inSync()) return fail('not all objects have been read from the datastore yet');
		if (deps.podCIDRs().length === 0) return fail('this node has no podCIDR: its Node object needs spec.podCIDRs');
		return undefined;
	};

	const handle = async (request: CniRequest): Promise<CniReply> => {
		const version = answerVersion(request.stdin);
		const refuse = (error: CniError): CniReply => errorReply(version, error);
		const command = parseCommand(request.env);
		if (!command.ok) return refuse(command.error);
		if (command.value === 'VERSION') {
			return ok(`${JSON.stringify({ cniVersion: version, supportedVersions })}\n`);
		}
		const netconf = parseNetconf(request.stdin, command.value);
		if (!netconf.ok) return refuse(netconf.error);
		const settle = (error: CniError | undefined): CniReply => (error === undefined ? ok() : refuse(error));
		if (command.value === 'STATUS') return settle(status());
		if (command.value === 'GC') return settle(await gc(netconf.value));
		const env = parsePodEnvironment(request.env, command.value);
		if (!env.ok) return refuse(env.error);
		const key = attachmentKey(env.value);
		const started = performance.now();
		const { containerID, ifname, podNamespace, podName } = env.value;
		const run = async (): Promise<CniReply> => {
			if (command.value === 'CHECK')
				return settle(await checkAttachment(deps, state.get(key), netconf.value, env.value));
			if (command.value === 'DEL') return settle(await del(env.value));
			const reply = await add(netconf.value, env.value);
			return 'exitCode' in reply ? reply : refuse(reply);
		};
		if (command.value === 'DEL') podWait.end(key);
		const reply = await locks.run(key, run);
		const fields = {
			containerID,
			ifname,
			pod: `${podNamespace}/${podName}`,
			ms: Math.round((performance.now() - started) * 10) / 10,
		};
		if (reply.exitCode === 0) log.info({ ...fields, addresses: state.ipam.addressesOf(key) }, `CNI ${command.value}`);
		else log.warn({ ...fields, reply: reply.stdout.trim() }, `CNI ${command.value} refused`);
		return reply;
	};

	/** A veth of ours vanished without a DEL: its netns ended, or somebody deleted it under a living pod. */
	const vanished = async (record: AttachmentRecord): Promise<void> => {
		const { attachment } = record;
		if (state.get(attachmentKey(attachment)) !== record || (await hasLink(attachment.hostInterface))) return;
		const { containerID, hostInterface } = attachment;
		if (record.netnsId !== '' && identifyNetns(attachment.netns) === record.netnsId) {
			const mtu = record.mtu > 0 ? record.mtu : deps.mtu();
			const failure = await wire(attachment, mtu, false, () => deps.programmed(attachment));
			if (failure === undefined) log.warn({ containerID, hostInterface }, 'a pod lost its veth: made anew');
			else log.error({ containerID, hostInterface, failure }, 'a pod lost its veth and wiring it anew failed');
			return;
		}
		const failure = await del(attachment);
		if (failure === undefined)
			log.info({ containerID, hostInterface }, 'the netns of a pod ended: its addresses are free');
	};

	const handleVanished = (record: AttachmentRecord): void => {
		const { attachment } = record;
		locks
			.run(attachmentKey(attachment), () => vanished(record))
			.catch((error: unknown) => {
				log.error({ link: attachment.hostInterface, error: String(error) }, 'handling the loss of a pod veth failed');
			});
	};

	/** For moments in which the kernel's notifications were not heard. */
	const lookForVanished = async (): Promise<void> => {
		const there = new Set((await kernel.listLinks()).map(({ name }) => name));
		for (const record of state.all()) if (!there.has(record.attachment.hostInterface)) handleVanished(record);
	};

	const pendingDels = createPendingDels({ runDir: deps.runDir, log, handle: (request) => handle(request) });

	return {
		handle,
		restore: async () => {
			const { unfinished, freed } = state.restore(await kernel.listLinks());
			state.ipam.setPools(deps.podCIDRs());
			for (const name of unfinished) {
				const stuck = await unwirePod(deps, name);
				if (stuck === undefined)
					log.info({ link: name }, 'removed a veth that a felix before this one left unfinished');
			}
			for (const address of freed) await kernel.deleteConntrack(address);
			return state.all().map(({ attachment }) => attachment);
		},
		start: async () => {
			unwatch = kernel.watch((event) => {
				if (event.type === 'lost') {
					lookForVanished().catch((error: unknown) => log.error({ error: String(error) }, 'listing links failed'));
				}
				if (event.type !== 'link' || !event.removed || !isHostInterface(event.link.name)) return;
				const record = state.all().find(({ attachment }) => attachment.hostInterface === event.link.name);
				if (record !== undefined) handleVanished(record);
			});
			await lookForVanished();
			await pendingDels.start();
		},
		attachments: () => state.all().map(({ attachment }) => attachment),
		adopt: (attachment, pod) => {
			const { namespace: podNamespace, name: podName, uid: podUID } = pod.metadata;
			const adopted = { ...attachment, podNamespace, podName, podUID };
			const record = state.get(attachmentKey(attachment));
			if (record !== undefined) state.put(upToDate({ ...record, attachment: adopted }));
			return adopted;
		},
		lastKnown: (attachment) => state.get(attachmentKey(attachment))?.lastKnown,
		remember: (namespace, name) => {
			for (const record of state.inNamespace(namespace)) {
				if (name !== undefined && record.attachment.podName !== name) continue;
				const now = upToDate(record);
				if (now === record) continue;
				try {
					state.put(now);
				} catch (error) {
					const { containerID } = record.attachment;
					log.error({ containerID, error: String(error) }, 'writing what is known of a pod failed');
				}
			}
		},
		usage: () => {
			state.ipam.setPools(deps.podCIDRs());
			return state.ipam.usage();
		},
		close: () => {
			unwatch();
			pendingDels.close();
		},
	};
};
