import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { createConnectionEnder } from '../../felix/dataplane/connection-ender.ts';
import type { Kernel } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';

/** A node with two pods, a clock that stands still, and a conntrack that notes what it is asked. */
const setup = () => {
	const errors: string[] = [];
	const log: Logger = {
		debug: () => {},
		info: () => {},
		warn: () => {},
		error: (_, text) => errors.push(text),
		child: () => log,
	};
	const calc = createPolicyCalc();
	calc.set(makeNamespace('x'));
	for (const [i, name] of ['a', 'b'].entries()) {
		calc.set(makePod(`x/${name}`, { app: name }, [`10.0.0.${i + 1}`]));
		calc.setLocalPod({ key: `x/${name}`, addresses: [`10.0.0.${i + 1}`] });
	}
	const clock = { now: 0 };
	const timers: { readonly at: number; readonly action: () => void }[] = [];
	const asked: string[][] = [];
	const kernel = { takes: 0, fails: false };
	const endConnections: Kernel['endConnections'] = async (_, addresses) => {
		asked.push([...addresses].sort());
		clock.now += kernel.takes;
		if (kernel.fails) throw new Error('no');
		return { looked: 1, ended: 1 };
	};
	const later = (milliseconds: number, action: () => void): void => {
		timers.push({ at: clock.now + milliseconds, action });
	};
	const ender = createConnectionEnder({ endConnections, isNode: () => false, later, now: () => clock.now, log });
	const settle = () => new Promise((resolve) => setImmediate(resolve));
	return {
		calc,
		clock,
		asked,
		kernel,
		errors,
		ender,
		inForce: async (): Promise<void> => {
			ender.inForce({ 4: calc.state(4), 6: calc.state(6) });
			await settle();
		},
		/** Lets time pass until the next timer; by how much. */
		tick: async (): Promise<number> => {
			const timer = timers.shift();
			if (timer === undefined) return 0;
			const passed = timer.at - clock.now;
			clock.now = timer.at;
			timer.action();
			await settle();
			return passed;
		},
	};
};
const isolate = (name: string, port?: number) =>
	makePolicy(`x/${name}`, {
		podSelector: selector({ app: name }),
		ingress: port === undefined ? [] : [{ peers: [], ports: [{ protocol: 'TCP', port }] }],
	});

test('the first change is acted on at once; churn is looked at together, once a second', async () => {
	const { calc, asked, ender, inForce, tick } = setup();
	await inForce();
	assert.deepEqual(asked, []);
	calc.set(isolate('a'));
	await inForce();
	assert.deepEqual(asked, [['10.0.0.1']]);
	assert.equal(ender.pending(), false);
	for (let port = 1; port <= 50; port++) {
		calc.set(isolate(port % 2 === 0 ? 'a' : 'b', port));
		await inForce();
	}
	assert.equal(asked.length, 1);
	assert.equal(ender.pending(), true);
	assert.equal(await tick(), 1000);
	assert.deepEqual(asked.slice(1), [['10.0.0.1', '10.0.0.2']]);
	assert.equal(ender.pending(), false);
	assert.equal(await tick(), 0);
	assert.equal(ender.status().ended, 2);
});

test('looks that take long are followed by a pause ten times as long', async () => {
	const { calc, asked, kernel, inForce, tick } = setup();
	await inForce();
	kernel.takes = 300;
	calc.set(isolate('a'));
	await inForce();
	calc.set(isolate('b'));
	await inForce();
	assert.equal(asked.length, 1);
	assert.equal(await tick(), 2700);
	assert.equal(asked.length, 2);
});

test('what cannot be looked at is tried again, and said once', async () => {
	const { calc, asked, kernel, errors, ender, inForce, tick } = setup();
	await inForce();
	kernel.fails = true;
	calc.set(isolate('a'));
	await inForce();
	await tick();
	assert.equal(ender.pending(), true);
	assert.deepEqual(errors, ['connections that policies no longer allow may go on: no']);
	kernel.fails = false;
	await tick();
	assert.deepEqual(asked, [['10.0.0.1'], ['10.0.0.1'], ['10.0.0.1']]);
	assert.equal(ender.pending(), false);
});

test('after a start, and when pods were found, everything isolated is looked at', async () => {
	const { calc, asked, ender, inForce, tick } = setup();
	calc.set(isolate('a'));
	await inForce();
	assert.deepEqual(asked, [['10.0.0.1']]);
	ender.forget();
	await inForce();
	await tick();
	assert.deepEqual(asked, [['10.0.0.1'], ['10.0.0.1']]);
});
