import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPolicyCalc } from '../../felix/calc/index.ts';
import { createFlows, type Flow } from '../../felix/flows.ts';
import { groupChain } from '../../felix/render/index.ts';
import { flowText } from '../../src/cli/flows.ts';
import type { LoggedPacket, NflogOptions, NflogResult } from '../../src/kernel/nflog.ts';
import type { Logger } from '../../src/logging.ts';
import { makeNamespace, makePod, makePolicy, selector } from '../property/calc-world.ts';

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => log };

const setup = (refusals: readonly NflogResult[] = []) => {
	const calc = createPolicyCalc();
	calc.set(makeNamespace('x'));
	for (const [i, name] of ['a', 'b'].entries()) {
		calc.set(makePod(`x/${name}`, { app: name }, [`10.0.0.${i + 1}`]));
		calc.setLocalPod({ key: `x/${name}`, addresses: [`10.0.0.${i + 1}`] });
	}
	calc.set(
		makePolicy('x/p', {
			podSelector: selector({ app: 'b' }),
			ingress: [{ peers: [], ports: [{ protocol: 'TCP', port: 80 }] }],
		}),
	);
	calc.set(makePolicy('x/q', { podSelector: selector({ app: 'b' }) }));
	let kernel: NflogOptions | undefined;
	const waiting: (() => void)[] = [];
	const answers = [...refusals];
	const flows = createFlows({
		calc,
		isNode: () => false,
		open: (options) => {
			const refusal = answers.shift();
			if (refusal !== undefined) return refusal;
			kernel = options;
			return { ok: true, nflog: { poll: () => {}, close: () => {} } };
		},
		later: (_, action) => waiting.push(action),
		log,
	});
	const tell = (prefix: string, more: Partial<LoggedPacket> = {}): void =>
		kernel?.onPacket({
			time: 0,
			prefix,
			family: 4,
			protocol: 6,
			source: '10.0.0.1',
			destination: '10.0.0.2',
			sourcePort: 4000,
			destinationPort: 81,
			...more,
		});
	const chainOfB = () => groupChain('ingress', calc.state(4).groups[0]?.id ?? '');
	return { calc, flows, tell, chainOfB, waiting, lose: (count: number) => kernel?.onLost(count) };
};

test('a denial names pods, protocol, port and who isolates; an acceptance the policy that allows', () => {
	const { calc, flows, tell, chainOfB } = setup();
	assert.equal(flows.start(), true);
	const chain = chainOfB();
	tell(chain);
	tell('MANX-ACCEPT', { destinationPort: 80 });
	tell('MANX-INGRESS', { destination: '10.0.0.9' });
	calc.delete('NetworkPolicy', 'x/q');
	tell(chain, { protocol: 47 });
	assert.deepEqual(flows.kept().map(flowText), [
		'1970-01-01T00:00:00.000Z  DENIED   x/a (10.0.0.1) -> x/b (10.0.0.2)  TCP 81  ingress isolated by x/p, x/q; no rule allows',
		'1970-01-01T00:00:00.000Z  allowed  x/a (10.0.0.1) -> x/b (10.0.0.2)  TCP 80  egress no policy isolates; ingress allowed by x/p',
		'1970-01-01T00:00:00.000Z  DENIED   x/a (10.0.0.1) -> 10.0.0.9  TCP 81  felix does not know this pod (yet): everything is dropped',
		'1970-01-01T00:00:00.000Z  DENIED   x/a (10.0.0.1) -> x/b (10.0.0.2)  47 81  isolated by policies that have changed since',
	]);
});

test('the last thousand are kept; followers get what comes, and losses', () => {
	const { flows, tell, chainOfB, lose } = setup();
	flows.start();
	const got: (Flow | number)[] = [];
	const stop = flows.follow(
		(flow) => got.push(flow),
		(count) => got.push(count),
	);
	const chain = chainOfB();
	tell(chain);
	lose(3);
	stop();
	for (let i = 0; i < 2500; i++) tell(chain, { time: i });
	assert.equal(flows.kept().length, 1000);
	assert.equal(flows.kept().at(-1)?.time, new Date(2499).toISOString());
	assert.deepEqual(got.slice(1), [3]);
	assert.equal(flows.lost(), 3);
});

test('a group somebody else listens to is tried again; a kernel without NFLOG is not asked to log', () => {
	const busy = setup([{ ok: false, busy: true, reason: 'taken' }]);
	assert.equal(busy.flows.start(), true);
	assert.equal(busy.flows.problem(), 'taken');
	busy.waiting.shift()?.();
	assert.equal(busy.flows.problem(), '');
	const none = setup([{ ok: false, busy: false, reason: 'no such thing' }]);
	assert.equal(none.flows.start(), false);
	assert.equal(none.flows.problem(), 'no such thing');
	assert.deepEqual(none.waiting, []);
});
