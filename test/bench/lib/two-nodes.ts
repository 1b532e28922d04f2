/** pod - node - node - pod, each a network namespace, wired as Manx wires them; the nodes are joined directly or by VXLAN. */
import { execFileSync } from 'node:child_process';

export const podAddresses = ['10.244.1.2', '10.244.2.2'] as const;

const podMac = '02:00:00:00:00:01';

export type TwoNodes = {
	/** Network namespaces of the pods and of their nodes, in order. */
	readonly pods: readonly [string, string];
	readonly nodes: readonly [string, string];
	readonly remove: () => void;
};

const program = (file: string, args: readonly string[], input?: string): string =>
	execFileSync(file, args, { encoding: 'utf8', input });

export const createTwoNodes = (prefix: string, path: 'direct' | 'vxlan'): TwoNodes => {
	const names = { pods: [`${prefix}-p1`, `${prefix}-p2`], nodes: [`${prefix}-n1`, `${prefix}-n2`] } as const;
	const all = [...names.pods, ...names.nodes];
	const remove = (): void => {
		for (const name of all) {
			try {
				program('ip', ['netns', 'del', name]);
			} catch {}
		}
	};
	// A pod's MTU leaves room for the outer header.
	const mtu = path === 'vxlan' ? 1450 : 1500;
	try {
		for (const name of all) {
			program('ip', ['netns', 'add', name]);
			program('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
		}
		const link = ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', names.nodes[1]];
		program('ip', ['-n', names.nodes[0], ...link]);
		for (const i of [0, 1] as const) {
			const [pod, node, own] = [names.pods[i], names.nodes[i], podAddresses[i]];
			const net = `10.244.${2 - i}.0/24`;
			const next = path === 'direct' ? `192.0.2.${2 - i}` : `198.51.100.${2 - i}`;
			program('ip', ['netns', 'exec', node, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
			const onNode = [
				`addr add 192.0.2.${i + 1}/24 dev eth0`,
				'link set eth0 up',
				`link add manxpod address ee:ee:ee:ee:ee:ee mtu ${mtu} type veth peer name eth0 address ${podMac} mtu ${mtu} netns ${pod}`,
				'link set manxpod up',
				...(path === 'direct'
					? []
					: [
							`link add vxlan0 type vxlan id 1 remote 192.0.2.${2 - i} local 192.0.2.${i + 1} dev eth0 dstport 4789`,
							`addr add 198.51.100.${i + 1}/24 dev vxlan0`,
							'link set vxlan0 up',
						]),
				`neigh replace ${own} lladdr ${podMac} dev manxpod nud permanent`,
				`route add ${own}/32 dev manxpod scope link`,
				`route add ${net} via ${next}`,
			];
			program('ip', ['-n', node, '-batch', '-'], `${onNode.join('\n')}\n`);
			const inPod = [
				`addr add ${own}/32 dev eth0`,
				'link set eth0 up',
				'route add 169.254.1.1 dev eth0 scope link',
				'neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent',
				'route add default via 169.254.1.1 dev eth0',
			];
			program('ip', ['-n', pod, '-batch', '-'], `${inPod.join('\n')}\n`);
		}
	} catch (error) {
		remove();
		throw error;
	}
	return { ...names, remove };
};
