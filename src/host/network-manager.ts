import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Link } from '../kernel/kernel.ts';
import type { HostFinding } from './finding.ts';

/**
 * NetworkManager writes down which interfaces it manages, a file for each by its index (src/core/nm-config.c,
 * NM_CONFIG_DEVICE_STATE_DIR). One that it manages it may set down or give other addresses and routes.
 */
export const networkManagerFindings = (
	root: string,
	links: readonly Pick<Link, 'index' | 'name'>[],
): readonly HostFinding[] => {
	const folder = join(root, 'run/NetworkManager/devices');
	const nameOf = new Map(links.map(({ index, name }) => [String(index), name]));
	let files: string[] = [];
	try {
		files = readdirSync(folder);
	} catch {
		return [];
	}
	const managed = files.flatMap((file) => {
		const name = nameOf.get(file) ?? '';
		if (!/^manx[0-9a-f]{11}$/.test(name)) return [];
		try {
			return /^managed=(true|1)$/m.test(readFileSync(join(folder, file), 'utf8')) ? [name] : [];
		} catch {
			return [];
		}
	});
	if (managed.length === 0) return [];
	const some = managed.sort().slice(0, 3).join(', ');
	const more = managed.length > 3 ? ` and ${managed.length - 3} more` : '';
	return [
		{
			code: 'NetworkManagerManagesPods',
			message: `NetworkManager manages interfaces of pods (${some}${more}) and may set them down or change their addresses`,
			fix: 'Write [keyfile] and unmanaged-devices=interface-name:manx* into /etc/NetworkManager/conf.d/manx.conf, then systemctl reload NetworkManager.',
			degraded: false,
		},
	];
};
