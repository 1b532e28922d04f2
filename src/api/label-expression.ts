import type { Labels } from './objects.ts';

/**
 * Selectors as Calico writes them: `rack == 'r1' && !has(old)`, `zone in {'a', 'b'}`, `all()`. Parsed to a question about
 * labels, or to what is wrong in words. Negative comparisons hold where the label is missing. Pure.
 */

export type LabelQuestion = (labels: Labels) => boolean;
export type ParsedExpression =
	| { readonly ok: true; readonly matches: LabelQuestion }
	| { readonly ok: false; readonly error: string };

const token = /\s*(?:(\|\||&&|==|!=|[!(){},])|'([^']*)'|"([^"]*)"|([A-Za-z0-9_./-]+))/y;

type Token = { readonly type: 'sign' | 'text' | 'word'; readonly value: string };

const tokensOf = (source: string): Token[] | string => {
	const tokens: Token[] = [];
	token.lastIndex = 0;
	const end = source.trimEnd().length;
	while (token.lastIndex < end) {
		const at = token.lastIndex;
		const found = token.exec(source);
		if (found === null) return `cannot be read from '${source.slice(at, at + 20).trim()}' on`;
		const [, sign, single, double, word] = found;
		if (sign !== undefined) tokens.push({ type: 'sign', value: sign });
		else if (word !== undefined) tokens.push({ type: 'word', value: word });
		else tokens.push({ type: 'text', value: single ?? double ?? '' });
	}
	return tokens;
};

/** Thrown and caught in this file alone: a parser by descent says so at any depth. */
class Unreadable extends Error {}

const labelValue = (labels: Labels, key: string): string | undefined =>
	Object.hasOwn(labels, key) ? labels[key] : undefined;

const deepest = 100;

export const parseLabelExpression = (source: string): ParsedExpression => {
	const tokens = tokensOf(source);
	if (typeof tokens === 'string') return { ok: false, error: tokens };
	let at = 0;
	let depth = 0;
	const isSign = (value: string): boolean => tokens[at]?.type === 'sign' && tokens[at]?.value === value;
	const isWord = (value: string): boolean => tokens[at]?.type === 'word' && tokens[at]?.value === value;
	const fail = (wanted: string): never => {
		const found = tokens[at];
		throw new Unreadable(`needs ${wanted} ${found === undefined ? 'at its end' : `where '${found.value}' is`}`);
	};
	const sign = (value: string): void => {
		if (!isSign(value)) fail(`'${value}'`);
		at++;
	};
	const text = (): string => {
		const found = tokens[at];
		if (found?.type !== 'text') return fail('a value in quotes');
		at++;
		return found.value;
	};
	const word = (what: string): string => {
		const found = tokens[at];
		if (found?.type !== 'word') return fail(what);
		at++;
		return found.value;
	};
	const values = (): string[] => {
		const found: string[] = [];
		sign('{');
		while (!isSign('}')) {
			if (found.length > 0) sign(',');
			found.push(text());
		}
		sign('}');
		return found;
	};

	const comparison = (): LabelQuestion => {
		const key = word('a label, has(), all() or a bracket');
		if (key === 'all' || key === 'global' || key === 'has') {
			sign('(');
			const name = key === 'has' ? word('a label') : '';
			sign(')');
			return key === 'has' ? (labels) => labelValue(labels, name) !== undefined : () => true;
		}
		const given = (holds: (value: string) => boolean): LabelQuestion => {
			return (labels) => {
				const value = labelValue(labels, key);
				return value !== undefined && holds(value);
			};
		};
		if (isSign('==') || isSign('!=')) {
			const equal = isSign('==');
			at++;
			const wanted = text();
			return equal ? given((value) => value === wanted) : (labels) => labelValue(labels, key) !== wanted;
		}
		if (isWord('in')) {
			at++;
			const wanted = values();
			return given((value) => wanted.includes(value));
		}
		if (isWord('not')) {
			at++;
			if (!isWord('in')) fail("'in'");
			at++;
			const unwanted = new Set(values());
			return (labels) => !unwanted.has(labelValue(labels, key) ?? '') || labelValue(labels, key) === undefined;
		}
		if (isWord('contains')) {
			at++;
			const wanted = text();
			return given((value) => value.includes(wanted));
		}
		if (isWord('starts') || isWord('ends')) {
			const starts = isWord('starts');
			at++;
			if (!isWord('with')) fail("'with'");
			at++;
			const wanted = text();
			return given((value) => (starts ? value.startsWith(wanted) : value.endsWith(wanted)));
		}
		return fail("'==', '!=', 'in', 'not in', 'contains', 'starts with' or 'ends with'");
	};
	const term = (): LabelQuestion => {
		if (++depth > deepest) throw new Unreadable('has too many brackets within one another');
		const inner = ((): LabelQuestion => {
			if (isSign('!')) {
				at++;
				const negated = term();
				return (labels) => !negated(labels);
			}
			if (!isSign('(')) return comparison();
			at++;
			const bracketed = either();
			sign(')');
			return bracketed;
		})();
		depth--;
		return inner;
	};
	const row = (separator: string, part: () => LabelQuestion): LabelQuestion[] => {
		const parts = [part()];
		while (isSign(separator)) {
			at++;
			parts.push(part());
		}
		return parts;
	};
	const both = (): LabelQuestion => {
		const parts = row('&&', term);
		return (labels) => parts.every((part) => part(labels));
	};
	const either = (): LabelQuestion => {
		const parts = row('||', both);
		return (labels) => parts.some((part) => part(labels));
	};
	try {
		if (tokens.length === 0) return { ok: true, matches: () => true };
		const matches = either();
		return at < tokens.length ? fail("'&&' or '||'") : { ok: true, matches };
	} catch (error) {
		if (error instanceof Unreadable) return { ok: false, error: error.message };
		throw error;
	}
};
