import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFib } from '../../bird/fib/fib.ts';
import type { Fib } from '../../bird/fib/types.ts';
import type { Decision, Path } from '../../bird/rib/types.ts';
import { owners, type Route } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import {
	blackhole,
	createHandTimers,
	createMemoryKernel,
	type HandTimers,
	type MemoryKernel,
	onLink,
	silent,
	via,
} from './fib-memory-kernel.ts';

const path = (nextHop: string): Path => ({
	source: { peer: nextHop, kind: 'ebgp', bgpIdentifier: '1.1.1.1', peerAddress: nextHop },
	attributes: { origin: 'igp', asPath: [], nextHop },
	stale: false,
});
const decision = (prefix: string, ...nextHops: string[]): [string, Decision] => {
	const multipath = nextHops.map(path);
	return [prefix, { best: multipath[0] as Path, multipath }];
};
const local = (prefix: string): [string, Decision] => {
	const best: Path = {
		source: { peer: 'local', kind: 'local', bgpIdentifier: '', peerAddress: '' },
		attributes: { origin: 'igp', asPath: [] },
		stale: false,
	};
	return [prefix, { best, multipath: [best] }];
};
const ownRoute = (dst: string, gateway: string, prefSrc = '192.0.2.99'): Route => ({
	...via(dst, gateway, 'eth0', owners.bird.metric, owners.bird.protocol),
	prefSrc,
});

type World = {
	readonly kernel: MemoryKernel;
	readonly timers: HandTimers;
	readonly fib: Fib;
	readonly logged: string[];
};

/** A node on 192.0.2.0/24 and 2001:db8::/64 behind eth0, with eth1 on 198.51.100.0/24. */
const world = (before: readonly Route[] = []): World => {
	const logged: string[] = [];
	const note = (_: object, message: string): void => {
		logged.push(message);
	};
	const log: Logger = { ...silent, warn: note, error: note };
	const kernel = createMemoryKernel(log);
	const timers = createHandTimers();
	for (const name of ['eth0', 'eth1']) kernel.setLink(name, {});
	kernel.setAddress({ dev: 'eth0', address: '192.0.2.99', length: 24, scope: 'global' });
	for (const route of [
		onLink('192.0.2.0/24', 'eth0'),
		onLink('198.51.100.0/24', 'eth1'),
		onLink('2001:db8::/64', 'eth0', 256),
		...before,
	]) {
		kernel.setRoute(route);
	}
	const fib = createFib({ kernel, log, prefSrc: { 4: '192.0.2.99' }, maximumPaths: 4, timers });
	return { kernel, timers, fib, logged };
};

/** Turns the event loop, and the hand timers with it, until the condition holds. */
const until = async (condition: () => boolean, what: string, timers?: HandTimers): Promise<void> => {
	for (let turn = 0; turn < 2000; turn++) {
		if (condition()) return;
		timers?.advance(50);
		await new Promise((resolve) => setImmediate(resolve));
	}
	assert.fail(`never came true: ${what}`);
};

test('fib: decisions become routes with gateway, device and preferred source', async () => {
	const { fib, kernel } = world();
	await fib.start();
	fib.update(
		new Map([decision('10.1.0.0/24', '192.0.2.1'), decision('2001:db8:1::/64', '2001:db8::1'), local('10.9.0.0/24')]),
	);
	await fib.flush();
	assert.deepEqual(kernel.own(), [
		{
			dst: '10.1.0.0/24',
			type: 'unicast',
			scope: 'universe',
			protocol: 174,
			metric: 174,
			prefSrc: '192.0.2.99',
			nextHops: [{ via: '192.0.2.1', dev: 'eth0' }],
		},
		{
			dst: '2001:db8:1::/64',
			type: 'unicast',
			scope: 'universe',
			protocol: 174,
			metric: 174,
			nextHops: [{ via: '2001:db8::1', dev: 'eth0' }],
		},
	]);
	assert.deepEqual(await fib.verify(), []);
	assert.equal(fib.status().programmed, 2);
	fib.update(new Map([['10.1.0.0/24', undefined]]));
	fib.converged();
	await fib.flush();
	assert.deepEqual(
		kernel.own().map((route) => route.dst),
		['2001:db8:1::/64'],
	);
});

test('fib: changes made in one turn are written together, the last one only', async () => {
	const { fib, kernel } = world();
	await fib.start();
	fib.converged();
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1')]));
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.2'), decision('10.2.0.0/24', '192.0.2.2')]));
	fib.update(new Map([['10.2.0.0/24', undefined]]));
	await fib.flush();
	assert.deepEqual(kernel.writes, ['+ 10.1.0.0/24']);
});

test('fib: parallel paths become one route of several next hops, each once', async () => {
	const { fib, kernel } = world([via('203.0.113.0/24', '192.0.2.1', 'eth0', 5)]);
	await fib.start();
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1', '203.0.113.7', '198.51.100.1')]));
	await fib.flush();
	assert.deepEqual(kernel.own()[0]?.nextHops, [
		{ via: '192.0.2.1', dev: 'eth0' },
		{ via: '198.51.100.1', dev: 'eth1' },
	]);
});

test('fib: next hops resolve by the longest prefix, never by a default route, our own routes or our own address', async () => {
	const { fib } = world([
		via('0.0.0.0/0', '192.0.2.254', 'eth0'),
		via('203.0.113.0/24', '192.0.2.1', 'eth0', 5),
		{ ...blackhole('203.0.113.128/25'), protocol: 4 },
		ownRoute('100.64.0.0/10', '192.0.2.1'),
	]);
	const heard = new Map<string, number | undefined>();
	await fib.start();
	const hops = ['192.0.2.1', '203.0.113.1', '203.0.113.200', '100.64.0.1', '8.8.8.8', '192.0.2.99', 'fe80::1'];
	fib.watchNextHops(hops, (nextHop, metric) => heard.set(nextHop, metric));
	assert.deepEqual(
		[...heard],
		[
			['192.0.2.1', 0],
			['203.0.113.1', 6],
			['203.0.113.200', undefined],
			['100.64.0.1', undefined],
			['8.8.8.8', undefined],
			['192.0.2.99', undefined],
			['fe80::1', undefined],
		],
	);
});

test('fib: next hops watched before the start are told of by it', async () => {
	const { fib } = world();
	const heard: unknown[] = [];
	fib.watchNextHops(['192.0.2.1'], (nextHop, metric) => heard.push([nextHop, metric]));
	assert.deepEqual(heard, []);
	await fib.start();
	assert.deepEqual(heard, [['192.0.2.1', 0]]);
});

test('fib: a link that goes down takes its next hops along, and brings them back', async () => {
	const { fib, kernel, timers } = world();
	const heard: unknown[] = [];
	await fib.start();
	fib.converged();
	fib.watchNextHops(['192.0.2.1', '198.51.100.1'], (nextHop, metric) => heard.push([nextHop, metric]));
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1', '198.51.100.1'), decision('10.2.0.0/24', '192.0.2.1')]));
	await fib.flush();
	heard.length = 0;
	kernel.setLink('eth0', { lowerUp: false });
	assert.deepEqual(heard, [['192.0.2.1', undefined]]);
	await fib.flush();
	assert.deepEqual(
		kernel.own().map(({ dst, nextHops }) => [dst, nextHops]),
		[['10.1.0.0/24', [{ via: '198.51.100.1', dev: 'eth1' }]]],
	);
	assert.deepEqual(fib.status().unreachable, ['10.2.0.0/24']);
	kernel.setLink('eth0', { lowerUp: true });
	assert.deepEqual(heard.at(-1), ['192.0.2.1', 0]);
	await until(() => kernel.own().length === 2, 'both routes back', timers);

	// Down for real: the kernel drops the routes in silence, and they are back although nobody told.
	kernel.setLink('eth0', { up: false });
	kernel.setLink('eth0', { up: true });
	kernel.setRoute(onLink('192.0.2.0/24', 'eth0'));
	await until(() => kernel.own().some((route) => route.dst === '10.2.0.0/24'), 'route back', timers);
	await until(() => kernel.own().length === 2, 'both routes back again', timers);
	assert.deepEqual(await fib.verify(), []);
});

test('fib: a route that comes or goes moves only the next hops in it', async () => {
	const { fib, kernel } = world();
	const heard: unknown[] = [];
	await fib.start();
	fib.watchNextHops(['192.0.2.1', '203.0.113.1'], (nextHop, metric) => heard.push([nextHop, metric]));
	heard.length = 0;
	const route = via('203.0.113.0/24', '192.0.2.7', 'eth0', 9);
	kernel.setRoute(route);
	kernel.setRoute(onLink('10.244.1.7/32', 'manx0'));
	kernel.removeRoute(route);
	assert.deepEqual(heard, [
		['203.0.113.1', 10],
		['203.0.113.1', undefined],
	]);
});

test('fib: a gateway that changes while the metric stays rewrites the routes, and the RIB hears of the interface', async () => {
	const { fib, kernel, timers } = world([via('203.0.113.0/24', '192.0.2.7', 'eth0', 9)]);
	const heard: unknown[] = [];
	await fib.start();
	fib.watchNextHops(['203.0.113.1'], (...each) => heard.push(each));
	fib.update(new Map([decision('10.1.0.0/24', '203.0.113.1')]));
	await fib.flush();
	heard.length = 0;
	kernel.setRoute(via('203.0.113.0/24', '198.51.100.7', 'eth1', 9));
	await until(() => kernel.own()[0]?.nextHops[0]?.via === '198.51.100.7', 'new gateway', timers);
	assert.deepEqual(heard, [['203.0.113.1', 10, ['eth1']]]);
});

test('fib: the last run is kept, counted, and swept only when converged', async () => {
	const kept = ownRoute('10.1.0.0/24', '192.0.2.1');
	const { fib, kernel, timers } = world([kept, ownRoute('10.2.0.0/24', '192.0.2.1')]);
	await fib.start();
	assert.equal(fib.found, 2);
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1')]));
	await fib.flush();
	timers.advance(100_000);
	await fib.flush();
	assert.deepEqual(kernel.writes, []);
	assert.deepEqual(await fib.verify(), []);
	fib.converged();
	await fib.flush();
	assert.deepEqual(kernel.writes, ['- 10.2.0.0/24']);
	fib.close();
	assert.deepEqual(kernel.own(), [kept]);
});

test('fib: what vanishes is put back and logged, told or not', async () => {
	const { fib, kernel, timers, logged } = world();
	await fib.start();
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1'), decision('10.2.0.0/24', '192.0.2.1')]));
	await fib.flush();
	kernel.removeRoute(ownRoute('10.1.0.0/24', '192.0.2.1'));
	assert.equal(kernel.own().length, 1);
	timers.advance(1000);
	await fib.flush();
	assert.equal(kernel.own().length, 2);
	assert.match(logged.join(), /changed by somebody else/);
	kernel.lose('10.2.0.0/24');
	timers.advance(88_000);
	await fib.flush();
	assert.equal(kernel.own().length, 1, 'not before its time');
	timers.advance(2000);
	await fib.flush();
	assert.equal(kernel.own().length, 2, 'found by the periodic reading');
	kernel.lose('10.1.0.0/24');
	assert.deepEqual(await fib.verify(), ['10.1.0.0/24']);
	await fib.flush();
	assert.deepEqual(await fib.verify(), []);
	kernel.lose('10.1.0.0/24');
	kernel.lost();
	await until(() => kernel.own().length === 2, 'read again after lost notifications', timers);
});

test('fib: a refusal is told once, shown, tried again with growing pauses, and harms no other route', async () => {
	const { fib, kernel, timers, logged } = world();
	kernel.refusals.set('10.1.0.0/24', { errno: 101, code: 'ENETUNREACH', message: 'No.' });
	await fib.start();
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1'), decision('10.2.0.0/24', '192.0.2.1')]));
	await fib.flush();
	assert.deepEqual(
		kernel.own().map((route) => route.dst),
		['10.2.0.0/24'],
	);
	const { wanted, programmed, failed } = fib.status();
	assert.deepEqual(
		{ wanted, programmed, failed },
		{
			wanted: 2,
			programmed: 1,
			failed: [{ prefix: '10.1.0.0/24', code: 'ENETUNREACH', reason: 'No.' }],
		},
	);
	for (const pause of [1000, 2000, 4000]) {
		timers.advance(pause);
		await fib.flush();
	}
	assert.equal(logged.filter((message) => message.includes('refuses')).length, 1);
	assert.deepEqual(await fib.verify(), ['10.1.0.0/24']);
	kernel.refusals.clear();
	timers.advance(60_000);
	await fib.flush();
	assert.deepEqual(fib.status().failed, []);
	assert.equal(kernel.own().length, 2);
});

test('fib: a kernel that cannot be read changes nothing, and is caught up with later', async () => {
	const { fib, kernel, timers, logged } = world();
	await fib.start();
	fib.converged();
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1')]));
	await fib.flush();
	kernel.broken = true;
	timers.advance(90_000);
	await fib.flush();
	assert.equal(kernel.own().length, 1);
	assert.match(logged.join(), /could not be read/);
	kernel.lose('10.1.0.0/24');
	kernel.broken = false;
	await until(() => kernel.own().length === 1, 'caught up', timers);
});

test('fib: a prefix of our own or of a connected link is never installed by a gateway', async () => {
	const { fib, kernel } = world([blackhole('10.244.1.0/24')]);
	await fib.start();
	fib.converged();
	const pod = onLink('10.244.1.7/32', 'manx0', owners.felix.metric);
	fib.update(
		new Map(
			['10.244.1.0/24', '2001:db8::/64', '10.244.1.7/32', '10.244.2.0/24'].map((prefix) =>
				decision(prefix, prefix.includes(':') ? '2001:db8::1' : '192.0.2.1'),
			),
		),
	);
	kernel.setRoute(pod);
	await fib.flush();
	assert.deepEqual(
		kernel.own().map((route) => route.dst),
		['10.244.2.0/24'],
	);
	assert.deepEqual(fib.status().withheld.toSorted(), ['10.244.1.0/24', '10.244.1.7/32', '2001:db8::/64']);
	kernel.setRoute(via('10.244.2.0/24', '192.0.2.2', 'eth0', owners.felix.metric, owners.felix.protocol));
	kernel.removeRoute(pod);
	await fib.flush();
	assert.deepEqual(
		kernel.own().map((route) => route.dst),
		['10.244.2.0/24', '10.244.1.7/32'],
		'a host-gw route of felix does not stand in the way of ours',
	);
	assert.deepEqual(await fib.verify(), []);
});

test('fib: tells whether felix holds a prefix as a blackhole', async () => {
	const { fib, kernel } = world([blackhole('10.244.1.0/24')]);
	let told = 0;
	await fib.start();
	const stop = fib.onFelixChange(() => told++);
	assert.equal(fib.felixHolds('10.244.1.0/24'), true);
	assert.equal(fib.felixHolds('10.244.2.0/24'), false);
	kernel.setRoute({ ...blackhole('10.244.2.0/24'), protocol: 3 });
	kernel.setRoute(blackhole('fd00:1::/64'));
	assert.deepEqual([told, fib.felixHolds('fd00:1::/64'), fib.felixHolds('10.244.2.0/24')], [1, true, false]);
	kernel.removeRoute(blackhole('fd00:1::/64'));
	assert.deepEqual([told, fib.felixHolds('fd00:1::/64')], [2, false]);
	stop();
	kernel.removeRoute(blackhole('10.244.1.0/24'));
	assert.equal(told, 2);
});

test('fib: a new preferred source rewrites the routes in place', async () => {
	const { fib, kernel } = world();
	await fib.start();
	fib.converged();
	fib.update(new Map([decision('10.1.0.0/24', '192.0.2.1')]));
	await fib.flush();
	fib.setPrefSrc({ 4: '192.0.2.98' });
	await fib.flush();
	assert.equal(kernel.own()[0]?.prefSrc, '192.0.2.98');
	assert.deepEqual(kernel.writes, ['+ 10.1.0.0/24', '+ 10.1.0.0/24']);
});

test('fib: what felix wants announced beside its networks: single addresses, on link, with the metric of fallbacks', async () => {
	const { fib, kernel } = world();
	await fib.start();
	const told: string[][] = [];
	fib.onFelixChange(() => told.push([...fib.felixHosts()]));
	const pod = { ...onLink('10.244.9.7/32', 'manx0'), ...owners.fallback };
	kernel.setRoute({ ...onLink('10.244.1.8/32', 'manx0'), ...owners.felix });
	kernel.setRoute(via('10.244.2.0/24', '192.0.2.2', 'eth0', owners.fallback.metric, owners.fallback.protocol));
	kernel.setRoute(pod);
	kernel.removeRoute(pod);
	assert.deepEqual(told, [['10.244.9.7/32'], []]);
	assert.equal(fib.felixHolds('10.244.9.7/32'), false);
});

test('fib: no next hop is reached by an interface that is ignored, from the moment on that it is', async () => {
	const { fib } = world();
	const heard: unknown[] = [];
	await fib.start();
	fib.watchNextHops(['192.0.2.1', '198.51.100.1'], (...each) => heard.push(each));
	assert.deepEqual(heard, [
		['192.0.2.1', 0, ['eth0']],
		['198.51.100.1', 0, ['eth1']],
	]);
	heard.length = 0;
	fib.setIgnoredInterfaces(['*1']);
	assert.deepEqual(heard, [['198.51.100.1', undefined, []]]);
	fib.setIgnoredInterfaces([]);
	assert.deepEqual(heard.at(-1), ['198.51.100.1', 0, ['eth1']]);
});
