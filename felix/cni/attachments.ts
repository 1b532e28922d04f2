import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Link } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Attachment } from '../attachment.ts';
import { createIpam, type Ipam, type Released } from './ipam.ts';
import { type AttachmentRecord, attachmentKey, createRecords, restoreAttachments, writeAtomically } from './records.ts';

/**
 * What is wired on this node, in memory and in files: attachments, their addresses, and when addresses became free.
 * Keys are `containerID:ifname`.
 */
export type Attachments = {
	readonly ipam: Ipam;
	readonly get: (key: string) => AttachmentRecord | undefined;
	readonly all: () => readonly AttachmentRecord[];
	/** Of the pods of a namespace. */
	readonly inNamespace: (namespace: string) => readonly AttachmentRecord[];
	/** Records it in memory and on disk. */
	readonly put: (record: AttachmentRecord) => void;
	/** Frees its addresses and forgets it, on disk too. */
	readonly remove: (key: string) => void;
	/** Fills the registry from the kernel's links and the records; sweeps what is stale. Links to delete are returned. */
	readonly restore: (links: readonly Link[]) => {
		readonly unfinished: readonly string[];
		/** Addresses of attachments whose veth went while felix was away. */
		readonly freed: readonly string[];
	};
};

export const createAttachments = (options: {
	readonly runDir: string;
	readonly clock: { readonly now: () => number };
	readonly log: Logger;
}): Attachments => {
	const { runDir, clock, log } = options;
	mkdirSync(runDir, { recursive: true });
	const records = createRecords(runDir);
	const ipam = createIpam({ clock });
	const known = new Map<string, AttachmentRecord>();
	/** Keys of `known` by namespace; '' for pods without a name. */
	const namespaces = new Map<string, Set<string>>();
	const releasedPath = join(runDir, 'released.json');

	const saveReleased = (): void => writeAtomically(releasedPath, JSON.stringify(ipam.released()));

	const forget = (key: string): void => {
		const namespace = known.get(key)?.attachment.podNamespace ?? '';
		known.delete(key);
		const keys = namespaces.get(namespace);
		keys?.delete(key);
		if (keys?.size === 0) namespaces.delete(namespace);
	};
	const learn = (record: AttachmentRecord): void => {
		const key = attachmentKey(record.attachment);
		const { podNamespace } = record.attachment;
		if (known.get(key)?.attachment.podNamespace !== podNamespace) forget(key);
		known.set(key, record);
		const keys = namespaces.get(podNamespace);
		if (keys === undefined) namespaces.set(podNamespace, new Set([key]));
		else keys.add(key);
	};

	const claim = (attachment: Attachment): void => {
		const conflicts = ipam.restore(attachmentKey(attachment), attachment.addresses);
		for (const address of conflicts) {
			const { containerID, ifname, hostInterface } = attachment;
			log.error(
				{ address, containerID, ifname, hostInterface },
				'another pod has this address as well: delete one of the two pods',
			);
		}
	};

	return {
		ipam,
		get: (key) => known.get(key),
		all: () => [...known.values()],
		inNamespace: (namespace) => [...(namespaces.get(namespace) ?? [])].flatMap((key) => known.get(key) ?? []),
		put: (record) => {
			learn(record);
			records.write(record);
		},
		remove: (key) => {
			// The release time is on disk before the record goes: a felix that dies in between sweeps the record again.
			if (ipam.release(key).length > 0) saveReleased();
			forget(key);
			records.remove(key);
		},
		restore: (links) => {
			const { records: read, unreadable } = records.readAll();
			for (const file of unreadable) log.warn({ file }, 'an attachment record is not readable: its veth counts alone');
			const restored = restoreAttachments(links, read);
			for (const record of restored.recorded) {
				learn(record);
				claim(record.attachment);
			}
			for (const attachment of restored.unrecorded) {
				learn({ attachment, network: '', netnsId: '', mtu: 0, result: {} });
				claim(attachment);
				const { containerID, ifname, addresses } = attachment;
				log.warn({ containerID, ifname, addresses }, 'a pod veth has no record: kept, to be matched with its pod');
			}
			ipam.restoreReleased(readReleased(releasedPath));
			const freed: string[] = [];
			for (const { attachment } of restored.stale) {
				const key = attachmentKey(attachment);
				ipam.restore(key, attachment.addresses);
				freed.push(...ipam.release(key));
				log.info(
					{ containerID: attachment.containerID, addresses: attachment.addresses },
					'a pod went while felix was away',
				);
			}
			if (freed.length > 0) saveReleased();
			for (const { attachment } of restored.stale) records.remove(attachmentKey(attachment));
			return { unfinished: restored.unfinished, freed };
		},
	};
};

const readReleased = (path: string): readonly Released[] => {
	try {
		const entries: unknown = JSON.parse(readFileSync(path, 'utf8'));
		if (!Array.isArray(entries)) return [];
		return entries.filter(
			(entry: Partial<Released> | null) => typeof entry?.address === 'string' && typeof entry.at === 'number',
		);
	} catch {
		return [];
	}
};
