import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseLabelExpression } from '../../src/api/label-expression.ts';

const labels = { rack: 'r1', zone: 'a', 'example.com/role': 'reflector' };
const ask = (text: string): boolean | string => {
	const parsed = parseLabelExpression(text);
	return parsed.ok ? parsed.matches(labels) : parsed.error;
};

describe("a selector in Calico's words", () => {
	const table: readonly [string, boolean][] = [
		['', true],
		['all()', true],
		["rack == 'r1'", true],
		['rack == "r2"', false],
		["rack != 'r2'", true],
		["absent != 'x'", true],
		["absent == ''", false],
		['has(rack)', true],
		['!has(rack)', false],
		['has(example.com/role)', true],
		["zone in {'a', 'b'}", true],
		['zone in {}', false],
		["zone not in {'a'}", false],
		["absent not in {'a'}", true],
		["rack contains '1'", true],
		["rack starts with 'r'", true],
		["rack ends with 'r'", false],
		["rack == 'r2' || zone == 'a' && has(rack)", true],
		["(rack == 'r2' || zone == 'a') && !has(rack)", false],
		["!(rack == 'r2')", true],
		['has(toString)', false],
	];
	for (const [text, expected] of table) it(text || 'nothing', () => assert.equal(ask(text), expected));

	for (const [text, error] of [
		['rack', /needs '=='.* at its end/],
		['rack == r1', /a value in quotes where 'r1' is/],
		["rack == 'r1' zone == 'a'", /needs '&&' or '\|\|' where 'zone' is/],
		["(rack == 'r1'", /needs '\)' at its end/],
		['has rack', /needs '\('/],
		["rack == 'r1' $", /cannot be read from '\$' on/],
		['!'.repeat(200), /too many brackets/],
	] as const) {
		it(`says what is wrong with ${text.slice(0, 30)}`, () => assert.match(String(ask(text)), error));
	}
});
