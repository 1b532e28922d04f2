import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createFib } from '../../bird/fib/fib.ts';
import type { Fib, FibOptions } from '../../bird/fib/types.ts';
import type { Decision, Path } from '../../bird/rib/types.ts';
import { openKernel } from '../../src/kernel/open-kernel.ts';
import type { Logger } from '../../src/logging.ts';

const cleanups: (() => void)[] = [];
after(() => {
	for (const cleanup of cleanups.reverse()) cleanup();
});

const ip = (...args: string[]): string => {
	const { status, stdout, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
	assert.equal(status, 0, `ip ${args.join(' ')}: ${stderr} (the test needs root)`);
	return stdout;
};

type World = {
	readonly fib: Fib;
	readonly ns: (...args: string[]) => string;
	/** The same at the other end of the links. */
	readonly far: (...args: string[]) => string;
	/** Destinations of protocol 174, with what `ip` says of each. */
	readonly own: () => Map<string, string>;
	readonly logged: string[];
	readonly again: (more?: Partial<FibOptions>) => Fib;
};

let count = 0;

/** A node with up0 (192.0.2.99/24, 2001:db8::99/64) and up1 (198.51.100.99/24), their other ends in a second namespace. */
const world = (): World => {
	const name = `manxt-${process.pid}-fib${++count}`;
	const farName = `${name}f`;
	for (const each of [name, farName]) {
		ip('netns', 'add', each);
		cleanups.push(() => spawnSync('ip', ['netns', 'delete', each]));
	}
	const ns = (...args: string[]): string => ip('-n', name, ...args);
	const far = (...args: string[]): string => ip('-n', farName, ...args);
	ns('link', 'set', 'lo', 'up');
	for (const dev of ['up0', 'up1']) {
		ns('link', 'add', dev, 'type', 'veth', 'peer', 'name', dev, 'netns', farName);
		ns('link', 'set', dev, 'up');
		far('link', 'set', dev, 'up');
	}
	ns('addr', 'add', '192.0.2.99/24', 'dev', 'up0');
	ns('addr', 'add', '2001:db8::99/64', 'dev', 'up0', 'nodad');
	ns('addr', 'add', '198.51.100.99/24', 'dev', 'up1');
	const logged: string[] = [];
	const note = (_: object, message: string): void => {
		logged.push(message);
	};
	const log: Logger = { debug: () => {}, info: () => {}, warn: note, error: note, child: () => log };
	/** As a daemon starting anew: nothing remembered. */
	const again = (more: Partial<FibOptions> = {}): Fib => {
		const kernel = openKernel({ log, netns: `/run/netns/${name}` });
		cleanups.push(() => kernel.close());
		const fib = createFib({ kernel, log, prefSrc: { 4: '192.0.2.99', 6: '2001:db8::99' }, maximumPaths: 4, ...more });
		cleanups.push(() => fib.close());
		return fib;
	};
	const own = (): Map<string, string> => {
		const routes = new Map<string, string>();
		for (const family of ['-4', '-6']) {
			for (const line of ns('-N', '-o', family, 'route', 'show', 'table', 'main', 'proto', '174').split('\n')) {
				const text = line.replaceAll('\\', ' ').replace(/\s+/g, ' ').trim();
				if (text !== '') routes.set(text.split(' ')[0] as string, text);
			}
		}
		return routes;
	};
	return { fib: again(), ns, far, own, logged, again };
};

const until = async (condition: () => boolean | Promise<boolean>, what: string): Promise<void> => {
	for (let turn = 0; turn < 600; turn++) {
		if (await condition()) return;
		await pause(25);
	}
	assert.fail(`never came true: ${what}`);
};

const decision = (prefix: string, ...nextHops: string[]): [string, Decision] => {
	const multipath = nextHops.map(
		(nextHop): Path => ({
			source: { peer: nextHop, kind: 'ebgp', bgpIdentifier: '1.1.1.1', peerAddress: nextHop },
			attributes: { origin: 'igp', asPath: [], nextHop },
			stale: false,
		}),
	);
	return [prefix, { best: multipath[0] as Path, multipath }];
};

test('fib: routes of both families, single and parallel, as ip shows them', async () => {
	const { fib, own } = world();
	await fib.start();
	fib.update(
		new Map([
			decision('10.244.2.0/24', '192.0.2.12'),
			decision('10.244.3.0/24', '192.0.2.13', '198.51.100.13'),
			decision('fd00:2::/64', '2001:db8::12'),
			decision('fd00:3::/64', '2001:db8::12', '2001:db8::13'),
		]),
	);
	await fib.flush();
	const routes = own();
	assert.match(routes.get('10.244.2.0/24') as string, /via 192\.0\.2\.12 dev up0 src 192\.0\.2\.99 metric 174/);
	assert.match(routes.get('10.244.3.0/24') as string, /via 192\.0\.2\.13 dev up0 .*via 198\.51\.100\.13 dev up1/);
	assert.match(routes.get('fd00:2::/64') as string, /via 2001:db8::12 dev up0 src 2001:db8::99 metric 174/);
	assert.match(routes.get('fd00:3::/64') as string, /nexthop via 2001:db8::12 .*nexthop via 2001:db8::13 /);
	assert.deepEqual(await fib.verify(), []);
	fib.converged();
	fib.update(
		new Map([
			decision('fd00:3::/64', '2001:db8::13'),
			decision('10.244.3.0/24', '198.51.100.13'),
			['fd00:2::/64', undefined],
		]),
	);
	await fib.flush();
	assert.doesNotMatch(own().get('fd00:3::/64') as string, /nexthop|::12/);
	assert.match(own().get('10.244.3.0/24') as string, /via 198\.51\.100\.13 dev up1/);
	assert.equal(own().has('fd00:2::/64'), false);
	assert.deepEqual(await fib.verify(), []);
});

test('fib: what is flushed comes back and is logged', async () => {
	const { fib, own, ns, logged } = world();
	await fib.start();
	fib.converged();
	const decisions = Array.from({ length: 500 }, (_, i) =>
		decision(`10.245.${i >> 1}.${(i & 1) << 7}/25`, '192.0.2.12'),
	);
	fib.update(new Map([...decisions, decision('fd00:2::/64', '2001:db8::12', '2001:db8::13')]));
	await fib.flush();
	assert.equal(own().size, 501);
	const before = own();
	ns('-4', 'route', 'flush', 'proto', '174');
	ns('-6', 'route', 'flush', 'proto', '174');
	await until(() => own().size === 501, 'all routes back');
	assert.deepEqual(own(), before);
	assert.match(logged.join(), /changed by somebody else/);
	ns('route', 'change', '10.245.0.0/25', 'via', '192.0.2.66', 'proto', '174', 'metric', '174');
	await until(() => own().get('10.245.0.0/25') === before.get('10.245.0.0/25'), 'the changed route put right');
	ns('-6', 'route', 'del', 'fd00:2::/64', 'via', '2001:db8::12', 'proto', '174', 'metric', '174');
	await until(() => own().get('fd00:2::/64') === before.get('fd00:2::/64'), 'the lost next hop back');
	await until(async () => (await fib.verify()).length === 0, 'nothing differs');
});

test('fib: links that lose their carrier, go down, or vanish take next hops along and bring them back', async () => {
	const { fib, own, ns, far } = world();
	const heard = new Map<string, number | undefined>();
	await fib.start();
	fib.converged();
	fib.watchNextHops(['192.0.2.12', '198.51.100.12', '2001:db8::12'], (nextHop, metric) => heard.set(nextHop, metric));
	fib.update(
		new Map([
			decision('10.244.2.0/24', '192.0.2.12', '198.51.100.12'),
			decision('10.244.3.0/24', '192.0.2.12'),
			decision('fd00:3::/64', '2001:db8::12'),
		]),
	);
	await fib.flush();
	const before = own();
	assert.equal(before.size, 3);

	ns('link', 'set', 'up0', 'down');
	await until(() => [...heard.values()].join() === ',0,', 'both next hops of the link lost');
	await fib.flush();
	assert.deepEqual([...own().keys()], ['10.244.2.0/24']);
	assert.match(own().get('10.244.2.0/24') as string, /via 198\.51\.100\.12 dev up1/);
	assert.doesNotMatch(own().get('10.244.2.0/24') as string, /192\.0\.2\.12/);
	ns('link', 'set', 'up0', 'up');
	ns('addr', 'replace', '2001:db8::99/64', 'dev', 'up0', 'nodad');
	await until(() => own().size === 3, 'all three back');
	await until(() => own().get('10.244.2.0/24') === before.get('10.244.2.0/24'), 'both next hops back');
	assert.deepEqual([...heard.values()], [0, 0, 0]);

	far('link', 'set', 'up0', 'down');
	await until(() => [...heard.values()].join() === ',0,', 'both next hops lost with the carrier');
	await fib.flush();
	assert.deepEqual([...own().keys()], ['10.244.2.0/24']);
	far('link', 'set', 'up0', 'up');
	await until(() => own().get('10.244.2.0/24') === before.get('10.244.2.0/24') && own().size === 3, 'carrier back');

	// So quick that nobody sees the link down in between.
	ns('link', 'set', 'up1', 'down');
	ns('link', 'set', 'up1', 'up');
	await until(() => own().get('10.244.2.0/24') === before.get('10.244.2.0/24'), 'the flapped next hop back');

	ns('link', 'delete', 'up1');
	await until(() => heard.get('198.51.100.12') === undefined, 'the next hop of the deleted link lost');
	await until(() => !(own().get('10.244.2.0/24') as string).includes('up1'), 'its route moved');
	await until(async () => (await fib.verify()).length === 0, 'nothing differs');
});

test('fib: a route to a next hop may come later, change and go', async () => {
	const { fib, own, ns } = world();
	const heard: unknown[] = [];
	await fib.start();
	fib.converged();
	fib.watchNextHops(['203.0.113.1'], (nextHop, metric) => heard.push([nextHop, metric]));
	fib.update(new Map([decision('10.244.2.0/24', '203.0.113.1')]));
	await fib.flush();
	assert.equal(own().size, 0);
	ns('route', 'add', 'default', 'via', '192.0.2.1');
	ns('route', 'add', '203.0.113.0/24', 'via', '192.0.2.1', 'metric', '7');
	await until(() => own().size === 1, 'installed');
	assert.match(own().get('10.244.2.0/24') as string, /via 192\.0\.2\.1 dev up0/);
	ns('route', 'replace', '203.0.113.0/24', 'via', '198.51.100.1', 'metric', '7');
	await until(() => (own().get('10.244.2.0/24') ?? '').includes('via 198.51.100.1 dev up1'), 'moved');
	ns('route', 'del', '203.0.113.0/24');
	await until(() => own().size === 0, 'gone');
	assert.deepEqual(heard, [
		['203.0.113.1', undefined],
		['203.0.113.1', 8],
		// By another interface.
		['203.0.113.1', 8],
		['203.0.113.1', undefined],
	]);
});

test('fib: a new start finds its routes, writes nothing that is right, and sweeps once converged', async () => {
	const { fib, own, ns, again } = world();
	await fib.start();
	const decisions = new Map([decision('10.244.2.0/24', '192.0.2.12'), decision('fd00:2::/64', '2001:db8::12')]);
	fib.update(new Map([...decisions, decision('10.244.9.0/24', '192.0.2.12')]));
	await fib.flush();
	fib.close();
	assert.equal(own().size, 3, 'closing leaves the routes');
	const second = again();
	await second.start();
	assert.equal(second.found, 3);
	second.update(decisions);
	await second.flush();
	assert.equal(own().size, 3);
	second.converged();
	await second.flush();
	assert.deepEqual([...own().keys()].sort(), ['10.244.2.0/24', 'fd00:2::/64']);
	ns('route', 'add', 'blackhole', '10.244.1.0/24', 'proto', '173', 'metric', '173');
	await until(() => second.felixHolds('10.244.1.0/24'), 'blackhole of felix seen');
});

test('fib: a refused route is shown with its reason, leaves others alone, and settles by itself', async () => {
	const { fib, own, ns, logged } = world();
	await fib.start();
	ns('addr', 'del', '2001:db8::99/64', 'dev', 'up0');
	ns('route', 'add', '2001:db8::/64', 'dev', 'up0');
	ns('route', 'add', '10.244.3.0/24', 'via', '192.0.2.77', 'metric', '174');
	await until(async () => {
		fib.update(
			new Map([
				decision('10.244.2.0/24', '192.0.2.12'),
				decision('10.244.3.0/24', '192.0.2.12'),
				decision('fd00:2::/64', '2001:db8::12'),
			]),
		);
		await fib.flush();
		return fib.status().failed.length === 2;
	}, 'both refused');
	const status = fib.status();
	assert.deepEqual(status.failed.map(({ prefix, code }) => [prefix, code]).sort(), [
		['10.244.3.0/24', 'EEXIST'],
		['fd00:2::/64', 'EINVAL'],
	]);
	assert.equal(status.programmed, 1);
	assert.deepEqual([...own().keys()], ['10.244.2.0/24']);
	assert.match(logged.join(), /refuses learnt routes/);
	ns('addr', 'add', '2001:db8::99/64', 'dev', 'up0', 'nodad');
	ns('route', 'del', '10.244.3.0/24', 'metric', '174');
	await until(() => own().size === 3, 'all installed');
	await until(() => fib.status().failed.length === 0, 'no failure left');
});

test('fib: another metric: the routes there are stay until the others are in the kernel', async () => {
	const { fib, ns, again } = world();
	const routes = new Map([decision('10.244.2.0/24', '192.0.2.12'), decision('fd00:2::/64', '2001:db8::12')]);
	await fib.start();
	fib.update(routes);
	await fib.flush();
	fib.close();
	const metrics = (): string[] =>
		['-4', '-6'].flatMap((family) =>
			[...ns('-N', '-o', family, 'route', 'show', 'proto', '174').matchAll(/^(\S+) .*metric (\d+)/gm)].map(
				([, dst, metric]) => `${dst} ${metric}`,
			),
		);
	assert.deepEqual(metrics(), ['10.244.2.0/24 174', 'fd00:2::/64 174']);
	const other = again({ owner: { protocol: 174, metric: 1024, metric6: 174 } });
	await other.start();
	assert.equal(other.found, 2, 'what another metric has counts as kept');
	other.update(routes);
	await other.flush();
	assert.deepEqual(metrics().sort(), ['10.244.2.0/24 1024', '10.244.2.0/24 174', 'fd00:2::/64 174']);
	other.converged();
	await until(() => metrics().length === 2, 'only the wanted metric');
	assert.deepEqual(metrics(), ['10.244.2.0/24 1024', 'fd00:2::/64 174']);
	assert.deepEqual(await other.verify(), []);
	other.close();
	// Back, by a process that knows nothing of the other metric.
	const back = again();
	await back.start();
	assert.equal(back.found, 2);
	back.update(routes);
	back.converged();
	await until(() => String(metrics()) === '10.244.2.0/24 174,fd00:2::/64 174', 'as before');
});

test('fib: left to felix is what felix has a route for', async () => {
	const { fib, ns, own, again } = world();
	fib.close();
	ns('route', 'add', '10.244.2.0/24', 'via', '192.0.2.12', 'proto', '173', 'metric', '175');
	const leaving = again({ leaveToFelix: true });
	await leaving.start();
	leaving.update(new Map([decision('10.244.2.0/24', '192.0.2.12'), decision('10.244.3.0/24', '192.0.2.13')]));
	await leaving.flush();
	assert.deepEqual([...own().keys()], ['10.244.3.0/24']);
	ns('route', 'delete', '10.244.2.0/24', 'proto', '173', 'metric', '175');
	await until(() => own().has('10.244.2.0/24'), 'ours, when felix has none');
});
