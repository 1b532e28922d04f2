import { ipBatch, mustRun } from '../../src/lab/shell.ts';
import { paths } from './state.ts';

/** The wire: a bridge in a namespace of its own, at the top-of-rack router's address, and one leg to each machine. */

export const fabricAddress = '172.30.0.1';

export const createFabric = async (cluster: string): Promise<void> => {
	const fabric = paths(cluster).netns('fabric');
	await ipBatch(undefined, [`netns add ${fabric}`]);
	await ipBatch(fabric, [
		'link add br0 type bridge',
		`address add ${fabricAddress}/24 dev br0`,
		'link set br0 up',
		'link set lo up',
	]);
	await mustRun('ip', ['netns', 'exec', fabric, 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
};

export const attachMachine = async (cluster: string, machine: string, address: string): Promise<void> => {
	const { netns } = paths(cluster);
	await ipBatch(undefined, [`netns add ${netns(machine)}`]);
	await ipBatch(netns('fabric'), [
		`link add p-${machine} type veth peer name eth0 netns ${netns(machine)}`,
		`link set p-${machine} master br0 up`,
	]);
	await ipBatch(netns(machine), [
		'link set lo up',
		`address add ${address}/24 dev eth0`,
		'link set eth0 up',
		`route add default via ${fabricAddress}`,
	]);
};
