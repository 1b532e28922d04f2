import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Link } from '../../src/kernel/kernel.ts';
import { canonicalAddress } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import type { LastKnown } from '../calc/types.ts';
import { hostInterfaceOf, isHostInterface, podMac } from './wiring.ts';

/**
 * What felix keeps in files beside the kernel: one record an attachment (`<runDir>/attachments/ID:IFNAME.json`) and the
 * release times of addresses (`<runDir>/released.json`). Files are complete or absent: written beside, then renamed.
 * The directory lies on a tmpfs, so nothing is synced: after a reboot neither veths nor records exist.
 */

export type AttachmentRecord = {
	readonly attachment: Attachment;
	/** Name of the CNI network; '' when not known. */
	readonly network: string;
	/** Identity of the netns (`st_dev:st_ino` of its path), so that another one at the same path is not taken for it. */
	readonly netnsId: string;
	readonly mtu: number;
	/** The result as answered to the last ADD. */
	readonly result: Record<string, unknown>;
	/** What policies look at in the pod, as last seen in the API. */
	readonly lastKnown?: LastKnown;
};

export const attachmentKey = (id: { readonly containerID: string; readonly ifname: string }): string =>
	`${id.containerID}:${id.ifname}`;

/** Writes a file so that a reader sees the old or the new content. */
export const writeAtomically = (path: string, content: string): void => {
	const temp = join(path, '..', `.${process.pid}.tmp`);
	writeFileSync(temp, content, { mode: 0o600 });
	renameSync(temp, path);
};

export type Records = {
	readonly write: (record: AttachmentRecord) => void;
	readonly remove: (key: string) => void;
	/** Every readable record; `unreadable` names the files that are not. */
	readonly readAll: () => { readonly records: readonly AttachmentRecord[]; readonly unreadable: readonly string[] };
};

export const createRecords = (runDir: string): Records => {
	const directory = join(runDir, 'attachments');
	mkdirSync(directory, { recursive: true, mode: 0o700 });
	const pathOf = (key: string): string => join(directory, `${key}.json`);
	return {
		write: (record) => writeAtomically(pathOf(attachmentKey(record.attachment)), JSON.stringify(record)),
		remove: (key) => rmSync(pathOf(key), { force: true }),
		readAll: () => {
			const records: AttachmentRecord[] = [];
			const unreadable: string[] = [];
			for (const file of readdirSync(directory)) {
				if (file.startsWith('.')) {
					rmSync(join(directory, file), { force: true });
					continue;
				}
				const record = readRecord(join(directory, file));
				if (record !== undefined) records.push(record);
				else unreadable.push(join(directory, file));
			}
			return { records, unreadable };
		},
	};
};

const readRecord = (path: string): AttachmentRecord | undefined => {
	try {
		const record = JSON.parse(readFileSync(path, 'utf8')) as AttachmentRecord;
		const { attachment } = record;
		const sound =
			hostInterfaceOf(attachment.containerID, attachment.ifname) === attachment.hostInterface &&
			attachment.addresses.every((address) => canonicalAddress(address) === address) &&
			[attachment.netns, attachment.mac, attachment.podNamespace, attachment.podName, attachment.podUID].every(
				(text) => typeof text === 'string',
			);
		if (!sound || record.lastKnown === undefined || isLastKnown(record.lastKnown)) return sound ? record : undefined;
		const { lastKnown: _, ...rest } = record;
		return rest;
	} catch {
		return undefined;
	}
};

const isLabels = (value: unknown): boolean =>
	typeof value === 'object' && value !== null && Object.values(value).every((text) => typeof text === 'string');

const isLastKnown = ({ uid, labels, ports, phase, namespaceLabels }: LastKnown): boolean =>
	[uid, phase].every((text) => typeof text === 'string') &&
	isLabels(labels) &&
	(namespaceLabels === undefined || isLabels(namespaceLabels)) &&
	ports.every(
		({ name, protocol, containerPort }) =>
			typeof name === 'string' && typeof protocol === 'string' && typeof containerPort === 'number',
	);

/** `<containerID> <ifname> <address>...`, the veth's alias: what the kernel itself remembers of an attachment. */
export const aliasOf = (attachment: Attachment): string =>
	[attachment.containerID, attachment.ifname, ...attachment.addresses].join(' ');

/** The attachment an alias tells of, without the names of its pod; undefined when it is none of ours. */
export const fromAlias = (hostInterface: string, alias: string): Attachment | undefined => {
	const [containerID, ifname, ...texts] = alias.split(' ');
	if (containerID === undefined || ifname === undefined || texts.length === 0) return undefined;
	if (hostInterfaceOf(containerID, ifname) !== hostInterface) return undefined;
	const addresses = texts.flatMap((text) => canonicalAddress(text) ?? []);
	if (addresses.length !== texts.length) return undefined;
	const names = { netns: '', podNamespace: '', podName: '', podUID: '' };
	return { containerID, ifname, ...names, addresses, hostInterface, mac: podMac(containerID, ifname) };
};

export type Restored = {
	/** Wired and recorded; addresses as the veth's alias has them. */
	readonly recorded: readonly AttachmentRecord[];
	/** Veths without a record: names are '', to be matched with a pod through the API. */
	readonly unrecorded: readonly Attachment[];
	/** Records whose veth is gone: to be swept. */
	readonly stale: readonly AttachmentRecord[];
	/** Veths of ours that never got as far as having an address: to be deleted. */
	readonly unfinished: readonly string[];
};

/** Puts together what the kernel and the records tell. Pure. */
export const restoreAttachments = (links: readonly Link[], records: readonly AttachmentRecord[]): Restored => {
	const byInterface = new Map(records.map((record) => [record.attachment.hostInterface, record]));
	const recorded: AttachmentRecord[] = [];
	const unrecorded: Attachment[] = [];
	const unfinished: string[] = [];
	for (const link of links) {
		if (!isHostInterface(link.name) || link.kind !== 'veth') continue;
		const told = fromAlias(link.name, link.alias);
		const record = byInterface.get(link.name);
		byInterface.delete(link.name);
		if (record !== undefined) {
			const addresses = told?.addresses ?? record.attachment.addresses;
			recorded.push({ ...record, attachment: { ...record.attachment, addresses } });
		} else if (told !== undefined) {
			unrecorded.push(told);
		} else {
			unfinished.push(link.name);
		}
	}
	return { recorded, unrecorded, stale: [...byInterface.values()], unfinished };
};
