import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { sha256, shortHash } from '../../felix/calc/hash.ts';
import { compileSelector, matches } from '../../felix/calc/selector.ts';
import { selector } from '../property/calc-world.ts';

const requirement = (operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist', ...values: string[]) =>
	selector({}, [{ key: 'app', operator, values }]);

test('matching follows apimachinery, missing keys and empty values included', () => {
	const cases = [
		[selector(), {}, true],
		[selector({ app: 'a' }), { app: 'a', other: 'x' }, true],
		[selector({ app: 'a' }), { app: 'b' }, false],
		[selector({ app: '' }), { app: '' }, true],
		[selector({ app: '' }), {}, false],
		[selector({ toString: 'a' }), {}, false],
		[requirement('In', 'a', 'b'), { app: 'b' }, true],
		[requirement('In', 'a'), {}, false],
		[requirement('NotIn', 'a'), { app: 'a' }, false],
		[requirement('NotIn', 'a'), { app: 'b' }, true],
		[requirement('NotIn', 'a'), {}, true],
		[requirement('Exists'), { app: '' }, true],
		[requirement('Exists'), {}, false],
		[requirement('DoesNotExist'), {}, true],
		[requirement('DoesNotExist'), { app: '' }, false],
		[selector({ app: 'a' }, [{ key: 'tier', operator: 'Exists', values: [] }]), { app: 'a' }, false],
	] as const;
	for (const [source, labels, wanted] of cases) {
		assert.equal(matches(compileSelector(source), labels), wanted, JSON.stringify([source, labels]));
	}
});

test('labels not known match the empty selector only', () => {
	assert.equal(matches(compileSelector(selector()), undefined), true);
	assert.equal(matches(compileSelector(requirement('DoesNotExist')), undefined), false);
	assert.equal(matches(compileSelector(requirement('NotIn', 'a')), undefined), false);
});

test('spellings of one selector share a canonical form, others do not', () => {
	const canonical = (...args: Parameters<typeof selector>) => compileSelector(selector(...args)).canonical;
	assert.equal(
		canonical({ a: '1', b: '2' }),
		canonical({ b: '2' }, [{ key: 'a', operator: 'In', values: ['1', '1'] }]),
	);
	assert.notEqual(canonical({ a: '1' }), canonical({ a: '1' }, [{ key: 'a', operator: 'Exists', values: [] }]));
	assert.notEqual(
		canonical({}, [{ key: 'a', operator: 'In', values: ['1,2'] }]),
		canonical({}, [{ key: 'a', operator: 'In', values: ['1', '2'] }]),
	);
});

test('the hash is SHA-256, and knows where one part ends', () => {
	for (const text of ['', 'abc', 'a'.repeat(55), 'a'.repeat(56), 'a'.repeat(64), 'é'.repeat(100)]) {
		assert.equal(Buffer.from(sha256(text)).toString('hex'), createHash('sha256').update(text).digest('hex'));
	}
	assert.notEqual(shortHash('a', 'bc'), shortHash('ab', 'c'));
	assert.match(shortHash('a'), /^[a-z2-7]{16}$/);
});
