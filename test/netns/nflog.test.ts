/** What rules tell by NFLOG, on the real kernel. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { inNetns } from '../../src/kernel/netns.ts';
import { type LoggedPacket, type Nflog, openNflog } from '../../src/kernel/nflog.ts';
import { encodePacket } from '../conformance/raw-packets.ts';
import { openHost } from '../conformance/raw-sockets.ts';
import { createTestNetns, type TestNetns, until } from './kernel-netns.ts';

let space: TestNetns;
const closers: (() => void)[] = [];
before(() => {
	space = createTestNetns();
	for (const address of ['192.0.2.9', 'fd00:2::9']) {
		space.ip(`neighbour replace ${address} lladdr 02:00:00:00:00:09 dev up0 nud permanent`);
	}
	for (const program of ['iptables-legacy', 'ip6tables-legacy']) {
		space.exec(program, '-A', 'OUTPUT', '-j', 'NFLOG', '--nflog-group', '7', '--nflog-prefix', 'MANX-E-abc');
	}
});
after(() => {
	for (const close of closers) close();
	space?.remove();
});

const listen = (group: number) => {
	const packets: LoggedPacket[] = [];
	const seen = { packets, lost: 0 };
	const result = openNflog({
		group,
		inside: (run) => inNetns(space.path, run),
		onPacket: (packet) => packets.push(packet),
		onLost: (count) => {
			seen.lost += count;
		},
	});
	if (result.ok) closers.push(result.nflog.close);
	return { result, seen };
};
const opened = (group: number): { readonly nflog: Nflog; readonly seen: { packets: LoggedPacket[]; lost: number } } => {
	const { result, seen } = listen(group);
	assert.ok(result.ok, JSON.stringify(result));
	return { nflog: result.nflog, seen };
};
const sender = () => {
	const host = openHost(space.path);
	closers.push(host.close);
	return (protocol: 'TCP' | 'UDP' | 'SCTP' | 'ICMP', family: 4 | 6): void => {
		const [source, destination] = family === 4 ? ['192.0.2.2', '192.0.2.9'] : ['fd00:2::2', 'fd00:2::9'];
		const packet = encodePacket({ source, destination, protocol, sourcePort: 4000, destinationPort: 80, number: 1 });
		host.send(packet, family, destination);
	};
};

test('prefix, time, ends, protocol and ports of both families; a second listener is told that it is busy', async () => {
	const { nflog, seen } = opened(7);
	const second = listen(7).result;
	assert.ok(!second.ok && second.busy, JSON.stringify(second));
	const send = sender();
	const started = Date.now();
	for (const family of [4, 6] as const)
		for (const protocol of ['TCP', 'UDP', 'SCTP', 'ICMP'] as const) send(protocol, family);
	const ours = (): LoggedPacket[] =>
		seen.packets.filter(({ destination }) => /^(192\.0\.2|fd00:2:):*\.?9$/.test(destination));
	await until(() => ours().length === 8, 'eight packets were told');
	for (const { prefix, time } of ours()) {
		assert.equal(prefix, 'MANX-E-abc');
		assert.ok(Math.abs(time - started) < 60_000);
	}
	const told = ours().map(({ family, protocol, sourcePort, destinationPort }) => [
		family,
		protocol,
		sourcePort,
		destinationPort,
	]);
	assert.deepEqual(told, [
		[4, 6, 4000, 80],
		[4, 17, 4000, 80],
		[4, 132, 4000, 80],
		[4, 1, undefined, undefined],
		[6, 6, 4000, 80],
		[6, 17, 4000, 80],
		[6, 132, 4000, 80],
		[6, 58, undefined, undefined],
	]);
	assert.equal(ours()[0]?.source, '192.0.2.2');
	nflog.close();
	assert.equal(listen(7).result.ok, true);
	closers.pop()?.();
});

test('what does not fit is counted: nothing is lost in silence', async () => {
	const { nflog, seen } = opened(7);
	const send = sender();
	const flood = 60_000;
	for (let i = 0; i < flood; i++) send('UDP', 4);
	const udp = (): number => seen.packets.filter(({ protocol, family }) => protocol === 17 && family === 4).length;
	await until(() => {
		// The next that is told bears the number that shows the gap.
		send('ICMP', 4);
		nflog.poll();
		return seen.lost > 0;
	}, 'losses were counted');
	const others = seen.packets.filter(({ protocol }) => protocol !== 17).length;
	assert.ok(udp() + seen.lost >= flood && udp() + seen.lost <= flood + others + 1, `${udp()} told, ${seen.lost} lost`);
});
