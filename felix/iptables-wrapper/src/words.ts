/**
 * Words of a rule, quoted as iptables-restore reads and iptables-save prints them (iptables/xshared.c,
 * add_param_to_argv): a backslash escapes within double quotes only; a quote also ends a word.
 */

/** Splits a rule into its words, quotes and escapes resolved. An unclosed quote ends with the text. */
export const splitWords = (text: string): string[] => {
	if (!text.includes('"')) return text.split(/[ \t\r\n]+/).filter((word) => word !== '');
	const words: string[] = [];
	let word = '';
	let quoted = false;
	for (let i = 0; i < text.length; i++) {
		const c = text[i] as string;
		if (quoted && c === '\\' && i + 1 < text.length) {
			word += text[++i];
		} else if (quoted && c !== '"') {
			word += c;
		} else if (c === '"') {
			if (quoted || word !== '') words.push(word);
			word = '';
			quoted = !quoted;
		} else if (c === ' ' || c === '\t' || c === '\r' || c === '\n') {
			if (word !== '') words.push(word);
			word = '';
		} else {
			word += c;
		}
	}
	if (word !== '') words.push(word);
	return words;
};

/** Quotes a word where iptables-restore would otherwise split or change it. */
export const quoteWord = (word: string): string =>
	word === '' || /[\s"'\\]/.test(word) ? `"${word.replace(/["\\]/g, '\\$&')}"` : word;
