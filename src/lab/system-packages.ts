import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * The programs lab and tests call, and the Debian packages they come in. Missing ones are installed when that is
 * possible (root on Debian or Ubuntu), else named in one message.
 */

const packageOf: Readonly<Record<string, string>> = {
	ip: 'iproute2',
	iptables: 'iptables',
	ipset: 'ipset',
	bird: 'bird2',
	ping: 'iputils-ping',
	tcpdump: 'tcpdump',
	conntrack: 'conntrack',
	gcc: 'gcc',
	vtysh: 'frr',
	gobgpd: 'gobgpd',
	nft: 'nftables',
	ptp: 'containernetworking-plugins',
	loopback: 'containernetworking-plugins',
	nsenter: 'util-linux',
	etcd: 'etcd-server',
	ctr: 'containerd',
	busybox: 'busybox-static',
	'libc.a': 'libc6-dev',
};

const searchPath = [
	...(process.env.PATH ?? '').split(delimiter),
	'/usr/sbin',
	'/sbin',
	'/usr/lib/cni',
	'/usr/lib/frr',
	'/usr/lib/x86_64-linux-gnu',
	'/usr/lib/aarch64-linux-gnu',
];

/** Full path of a program (or file of the table above), or undefined. */
export const findProgram = (name: string): string | undefined => {
	for (const folder of searchPath) {
		if (folder === '') continue;
		try {
			accessSync(join(folder, name), constants.R_OK);
			return join(folder, name);
		} catch {}
	}
	return undefined;
};

const isDebian = (): boolean => {
	try {
		return /^ID(_LIKE)?=.*(debian|ubuntu)/m.test(readFileSync('/etc/os-release', 'utf8'));
	} catch {
		return false;
	}
};

/**
 * Makes sure that every program is there, installing packages where needed and possible. Services in the packages are
 * not started (RUNLEVEL=1 tells invoke-rc.d so). Returns undefined, or the message for the person.
 */
export const ensurePrograms = (names: readonly string[], log: (line: string) => void): string | undefined => {
	const missing = names.filter((name) => findProgram(name) === undefined);
	if (missing.length === 0) return undefined;
	const packages = [...new Set(missing.map((name) => packageOf[name] ?? name))];
	const advice = `Missing: ${missing.join(', ')}. Install them: apt-get install ${packages.join(' ')}`;
	if (process.getuid?.() !== 0) return `${advice} (this needs root, as the lab itself does).`;
	if (!isDebian() || findProgram('apt-get') === undefined) {
		return `${advice} (or the packages of these names on this distribution; only Debian and Ubuntu are done by themselves).`;
	}
	log(`installing ${packages.join(' ')} ...`);
	const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
	const apt = (...args: string[]) =>
		spawnSync('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=120', ...args], { env: environment, encoding: 'utf8' });
	const install = () => apt('install', '-y', '--no-install-recommends', ...packages);
	let result = install();
	if (result.status !== 0) {
		apt('update');
		result = install();
	}
	if (result.status !== 0) return `${advice}. apt-get failed:\n${result.stdout}${result.stderr}`;
	const still = names.filter((name) => findProgram(name) === undefined);
	return still.length === 0
		? undefined
		: `${packages.join(' ')} installed, but ${still.join(', ')} still not found in PATH.`;
};
