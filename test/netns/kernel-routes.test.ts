import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type KernelEvent, owners, type Reconciler, type Route, type RouteBody } from '../../src/kernel/kernel.ts';
import { createTestNetns, route as routeOf, type TestNetns, until } from './kernel-netns.ts';

const owner = owners.felix;
const route = (text: string, more: Partial<Route> = {}): Route => routeOf(owner, text, more);

const spaces: TestNetns[] = [];
const fresh = (): TestNetns => {
	const space = createTestNetns();
	spaces.push(space);
	return space;
};
after(() => {
	for (const space of spaces) space.remove();
});

const ours = (space: TestNetns): string[] =>
	[4, 6]
		.flatMap((family) => space.ip(`-${family} route show proto 173`).split(/\n(?!\t)/))
		.map((line) =>
			line.replace(/\s+/g, ' ').replace(' metric 173', '').replace(' pref medium', '').replace(' linkdown', '').trim(),
		)
		.filter((line) => line !== '')
		.sort();
const applied = async (reconciler: Reconciler<Route, RouteBody>): Promise<{ written: string[]; deleted: string[] }> => {
	const { written, deleted, failed } = await reconciler.apply();
	assert.deepEqual([...failed.values()], []);
	return { written: [...written], deleted: [...deleted] };
};

test('routes of every kind are added, read back the same, changed in place and deleted', async () => {
	const space = fresh();
	const kernel = space.kernel();
	const routes = kernel.routes(owner);
	routes.sweep(true);
	// Each line is one state of the world; going from any to the next must leave exactly it.
	const states: readonly (readonly string[])[] = [
		['10.0.0.0/24 via 192.0.2.1 dev up0', 'fd01::/64 via fd00:2::1 dev up0'],
		['10.0.0.0/24 via 192.0.2.3', 'fd01::/64 via fd00:2::3'],
		[
			'10.0.0.0/24 via 192.0.2.1 dev up0, via 192.0.2.3 dev up0 weight 3',
			'fd01::/64 via fd00:2::1 dev up0, via fd00:2::3 dev up0 weight 3',
		],
		[
			'10.0.0.0/24 via 192.0.2.4 dev up0, via 192.0.2.3 dev up0, via 192.0.2.5 dev up0',
			'fd01::/64 via fd00:2::4 dev up0, via fd00:2::3 dev up0, via fd00:2::5 dev up0',
		],
		['10.0.0.0/24 via 192.0.2.4 dev up0', 'fd01::/64 via fd00:2::4 dev up0'],
		['10.0.0.0/24 blackhole', 'fd01::/64 blackhole'],
		['10.0.0.0/24 dev up0', 'fd01::/64 dev up0'],
		['10.0.0.0/24 via 198.51.100.1 dev up0 onlink', 'fd01::/64 via fd00:9::1 dev up0 onlink'],
		['10.0.0.7/32 dev up0', 'fd01::7/128 dev up0', '10.0.0.0/24 blackhole', 'fd01::/64 blackhole'],
		['0.0.0.0/0 via 10.0.0.7 dev up0', '10.0.0.7/32 dev up0', '::/0 via fd00:2::1 dev up0'],
		['10.0.0.0/24 via fd00:2::1 dev up0'],
		[],
	];
	for (const state of states) {
		const values = state.map((text) => route(text));
		const changes = values.filter((value) => {
			const known = routes.actual().get(value.dst);
			return known === undefined || JSON.stringify(known) !== JSON.stringify(value);
		});
		routes.replace(values);
		const { written } = await applied(routes);
		assert.deepEqual(written.sort(), changes.map((value) => value.dst).sort(), state.join('; '));
		assert.deepEqual(await routes.resync(), [], state.join('; '));
		assert.equal(routes.pending(), 0);
		assert.equal(ours(space).length, state.length, `${state.join('; ')}\n${ours(space).join('\n')}`);
		assert.deepEqual(await applied(routes), { written: [], deleted: [] });
	}
	assert.deepEqual(ours(space), []);
});

test('a change of next hop leaves no moment without a route', async () => {
	const space = fresh();
	const routes = space.kernel().routes(owner);
	routes.replace([route('10.0.0.0/24 via 192.0.2.1 dev up0'), route('fd01::/64 via fd00:2::1 dev up0')]);
	await applied(routes);
	const gone: string[] = [];
	let last = false;
	const stop = space.kernel().watch((event: KernelEvent) => {
		if (event.type !== 'route') return;
		if (event.removed) gone.push(event.route.dst);
		last ||= event.route.dst === '10.99.0.0/24';
	});
	routes.replace([
		route('10.0.0.0/24 via 192.0.2.1 dev up0, via 192.0.2.3 dev up0'),
		route('fd01::/64 via fd00:2::1 dev up0, via fd00:2::3 dev up0'),
	]);
	await applied(routes);
	routes.replace([route('10.0.0.0/24 via 192.0.2.9 dev up0'), route('fd01::/64 via fd00:2::9 dev up0')]);
	await applied(routes);
	space.ip('route add blackhole 10.99.0.0/24');
	await until(() => last, 'everything up to here was told');
	stop();
	assert.deepEqual(gone, []);
	assert.deepEqual(ours(space), ['10.0.0.0/24 via 192.0.2.9 dev up0', 'fd01::/64 via fd00:2::9 dev up0']);
});

test('the preferred source is written, and a route lost with that address is missed', async () => {
	const space = fresh();
	const kernel = space.kernel();
	const routes = kernel.routes(owner);
	space.ip('address add 198.51.100.2/32 dev lo');
	routes.set(route('10.0.0.0/24 via 192.0.2.1 dev up0', { prefSrc: '198.51.100.2' }));
	routes.set(route('fd01::/64 via fd00:2::1 dev up0', { prefSrc: 'fd00:2::2' }));
	await applied(routes);
	assert.match(ours(space).join('\n'), /src 198\.51\.100\.2[\s\S]*src fd00:2::2/);
	space.ip('address delete 198.51.100.2/32 dev lo');
	await until(() => routes.pending() > 0, 'the loss of the preferred source is noticed');
	const { failed } = await routes.apply();
	assert.equal(failed.get('10.0.0.0/24')?.code, 'EINVAL');
	space.ip('address add 198.51.100.2/32 dev lo');
	assert.deepEqual((await applied(routes)).written, ['10.0.0.0/24']);
});

test('a route somebody else holds is left alone, and the error names the holder', async () => {
	const space = fresh();
	const routes = space.kernel().routes(owner);
	routes.sweep(true);
	space.ip('route add 10.0.0.0/24 via 192.0.2.9 proto 211 metric 173');
	space.ip('-6 route add fd01::/64 via fd00:2::9 proto 211 metric 173');
	space.ip('route add 10.1.0.0/24 via 192.0.2.9 proto 173 metric 5');
	routes.replace([
		route('10.0.0.0/24 via 192.0.2.1'),
		route('fd01::/64 via fd00:2::1'),
		route('10.2.0.0/24 blackhole'),
	]);
	const { written, failed } = await routes.apply();
	assert.deepEqual(written, ['10.2.0.0/24']);
	assert.equal(failed.size, 2);
	assert.match(failed.get('10.0.0.0/24')?.message ?? '', /held by 10\.0\.0\.0\/24 via 192\.0\.2\.9 .*proto 211/);
	assert.equal(routes.pending(), 2);
	routes.replace([]);
	await applied(routes);
	assert.match(space.ip('route show 10.0.0.0/24'), /proto 211/);
	assert.match(space.ip('-6 route show fd01::/64'), /proto 211/);
	assert.match(space.ip('route show 10.1.0.0/24'), /metric 5/);
});

test('a second start finds what the first one left, keeps it until told to sweep, and writes only the difference', async () => {
	const space = fresh();
	const first = space.kernel();
	first
		.routes(owner)
		.replace(['10.1.0.0/24 blackhole', '10.2.0.0/24 via 192.0.2.1', 'fd01::/64 blackhole'].map((t) => route(t)));
	await applied(first.routes(owner));
	first.close();

	const routes = space.kernel().routes(owner);
	routes.set(route('10.2.0.0/24 via 192.0.2.1'));
	assert.deepEqual(await applied(routes), { written: [], deleted: [] });
	assert.equal(routes.actual().size, 3);
	assert.equal(routes.pending(), 0);
	routes.set(route('fd01::/64 via fd00:2::1'));
	assert.deepEqual(await applied(routes), { written: ['fd01::/64'], deleted: [] });
	routes.sweep(true);
	assert.equal(routes.pending(), 1);
	assert.deepEqual(await applied(routes), { written: [], deleted: ['10.1.0.0/24'] });
	assert.equal(ours(space).length, 2);
});

test('routes deleted, replaced or flushed by somebody else are noticed, told of and put back', async () => {
	const space = fresh();
	const routes = space.kernel().routes(owner);
	routes.sweep(true);
	const wanted = [
		'10.1.0.0/24 blackhole',
		'10.2.0.0/24 via 192.0.2.1 dev up0',
		'10.3.0.0/24 via 192.0.2.1 dev up0, via 192.0.2.3 dev up0',
		'fd01::/64 blackhole',
		'fd02::/64 via fd00:2::1 dev up0, via fd00:2::3 dev up0',
	].map((text) => route(text));
	routes.replace(wanted);
	await applied(routes);
	const before = ours(space);
	const damages: readonly (readonly [string, number])[] = [
		['route delete 10.1.0.0/24', 1],
		['route flush proto 173', 3],
		['-6 route flush proto 173', 2],
		['route change 10.2.0.0/24 via 192.0.2.8 proto 173 metric 173', 1],
		['-6 route delete fd02::/64 via fd00:2::3 dev up0 metric 173', 1],
		['-6 route append fd02::/64 via fd00:2::7 dev up0 proto 173 metric 173', 1],
	];
	for (const [damage, count] of damages) {
		space.ip(damage);
		await until(() => routes.pending() > 0, `noticed: ${damage}`);
		assert.equal((await applied(routes)).written.length, count, damage);
		assert.deepEqual(ours(space), before, damage);
		assert.deepEqual(await routes.resync(), [], damage);
	}
	assert.match(space.logged.join('\n'), /changed by somebody else.*10\.1\.0\.0\/24/);
	space.ip('route add 10.9.0.0/24 via 192.0.2.1 proto 173 metric 173');
	await until(() => routes.pending() > 0, 'a route in our name is noticed');
	assert.deepEqual(await applied(routes), { written: [], deleted: ['10.9.0.0/24'] });
});

test('a route of ours overwritten by another owner with our metric is noticed and not fought over', async () => {
	const space = fresh();
	const routes = space.kernel().routes(owner);
	routes.set(route('10.2.0.0/24 via 192.0.2.1'));
	await applied(routes);
	space.ip('route replace 10.2.0.0/24 via 192.0.2.8 proto 211 metric 173');
	await until(() => routes.pending() > 0, 'the overwriting is noticed');
	const { failed } = await routes.apply();
	assert.match(failed.get('10.2.0.0/24')?.message ?? '', /proto 211/);
	space.ip('route delete 10.2.0.0/24 proto 211');
	assert.deepEqual((await applied(routes)).written, ['10.2.0.0/24']);
});

test('routes lost with a link that goes down are back after it comes up, also when it is made anew', async () => {
	const space = fresh();
	const routes = space.kernel().routes(owner);
	space.ip('link add pod0 type veth peer name pod1');
	space.ip('link set pod0 up');
	space.ip('link set pod1 up');
	routes.replace(['10.0.0.7/32 dev pod0', 'fd01::7/128 dev pod0', '10.1.0.0/24 blackhole'].map((text) => route(text)));
	await applied(routes);
	const before = ours(space);
	space.ip('link set pod0 down');
	await until(() => routes.pending() > 0, 'the loss is noticed');
	const down = await routes.apply();
	assert.deepEqual([...down.failed.keys()].sort(), ['10.0.0.7/32', 'fd01::7/128']);
	assert.match(down.failed.get('10.0.0.7/32')?.message ?? '', /ENETDOWN.*up/);
	space.ip('link set pod0 up');
	assert.equal((await applied(routes)).written.length, 2);
	assert.deepEqual(ours(space), before);
	space.ip('link delete pod0');
	await until(() => routes.pending() > 0, 'the loss of the link is noticed');
	assert.equal((await routes.apply()).failed.get('10.0.0.7/32')?.code, 'ENODEV');
	space.ip('link add pod0 type veth peer name pod1');
	space.ip('link set pod0 up');
	assert.equal((await applied(routes)).written.length, 2);
	assert.deepEqual(ours(space), before);
});

test('notifications lost in a flood are told as lost, and the next pass makes everything right', async () => {
	const space = fresh();
	const kernel = space.kernel({ watchBufferBytes: 4096 });
	const routes = kernel.routes(owner);
	routes.replace(Array.from({ length: 500 }, (_, i) => route(`10.${i >> 8}.${i & 255}.0/24 blackhole`)));
	await applied(routes);
	let lost = 0;
	kernel.watch((event) => {
		if (event.type === 'lost') lost++;
	});
	space.ip('route flush proto 173');
	await until(() => lost > 0, 'the loss is told');
	assert.ok(routes.pending() > 0);
	assert.equal((await applied(routes)).written.length, 500);
	assert.equal(ours(space).length, 500);
	assert.match(space.logged.join('\n'), /notifications were lost/);
});

test('what makes no sense is refused by itself, with its reason', async () => {
	const space = fresh();
	const routes = space.kernel().routes(owner);
	const bad = [
		route('10.0.0.0/33 blackhole'),
		route('nonsense blackhole'),
		route('10.1.0.0/24 via fish'),
		route('10.2.0.0/24 via 203.0.113.1'),
		route('10.3.0.0/24 dev nosuch'),
		route('fd01::/64 via 192.0.2.1'),
		{ ...route('10.4.0.0/24 blackhole'), protocol: 211 },
	];
	routes.replace([...bad, route('10.9.0.0/24 blackhole')]);
	const { written, failed } = await routes.apply();
	assert.deepEqual(written, ['10.9.0.0/24']);
	assert.deepEqual([...failed.keys()].sort(), bad.map((value) => value.dst).sort());
	assert.match(failed.get('10.1.0.0/24')?.message ?? '', /"fish" is not an IP address/);
	assert.match(failed.get('10.2.0.0/24')?.message ?? '', /ENETUNREACH.*onlink/);
	assert.match(failed.get('10.3.0.0/24')?.message ?? '', /ENODEV/);
	assert.match(failed.get('10.4.0.0/24')?.message ?? '', /protocol 211/);
});

test('thousands of routes and single failures among them go in batches, and a resync of them writes nothing', async () => {
	const space = fresh();
	const kernel = space.kernel();
	const routes = kernel.routes(owners.bird);
	const many = Array.from({ length: 5000 }, (_, i) => {
		const via = i % 1000 === 999 ? '203.0.113.1' : '192.0.2.1';
		return routeOf(owners.bird, `11.${i >> 8}.${i & 255}.0/24 via ${via}`);
	});
	routes.replace(many);
	const { written, failed } = await routes.apply();
	assert.equal(written.length, 4995);
	assert.equal(failed.size, 5);
	assert.deepEqual(await routes.resync(), []);
	const again = await routes.apply();
	assert.deepEqual([again.written, again.deleted, again.failed.size], [[], [], 5]);
	const list = await kernel.listRoutes();
	assert.equal(list.filter((value) => value.protocol === owners.bird.protocol).length, 4995);
	assert.ok(list.some((value) => value.dst === '192.0.2.0/24' && value.protocol === 2));
	routes.sweep(true);
	routes.replace([]);
	assert.equal((await routes.apply()).deleted.length, 4995);
});

test('our own writes cause no drift, whatever else goes on', async () => {
	const space = fresh();
	const kernel = space.kernel();
	const routes = kernel.routes(owner);
	routes.sweep(true);
	let told = 0;
	kernel.watch((event) => {
		if (event.type === 'route' && event.route.protocol === owner.protocol) told++;
	});
	for (let round = 0; round < 20; round++) {
		const hop = `192.0.2.${10 + round}`;
		routes.replace(Array.from({ length: 50 }, (_, i) => route(`10.${round}.${i}.0/24 via ${hop}`)));
		await applied(routes);
		assert.equal(routes.pending(), 0);
	}
	space.ip('route add 10.200.0.0/24 via 192.0.2.1 proto 211');
	assert.deepEqual(await applied(routes), { written: [], deleted: [] });
	assert.deepEqual([told, routes.pending(), space.logged], [0, 0, []]);
});
