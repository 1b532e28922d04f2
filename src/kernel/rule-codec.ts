import { addressFromBytes } from '../net/ip.ts';
import { eachAttribute, stringOf } from './attributes.ts';
import type { RoutingRule } from './kernel.ts';
import * as nl from './netlink-constants.ts';
import type { NetlinkWriter } from './netlink-writer.ts';

/** Policy routing rules to and from rtnetlink messages (struct fib_rule_hdr). */

export const writeRuleDump = (writer: NetlinkWriter): void => {
	writer.message(nl.RTM_GETRULE, nl.NLM_F_DUMP);
	writer.u32(0);
	writer.u32(0);
	writer.u32(0);
};

const writePrefix = (writer: NetlinkWriter, type: number, prefix: string | undefined): boolean =>
	prefix === undefined || writer.attrAddress(type, prefix, prefix.indexOf('/'));

const lengthOf = (prefix: string | undefined): number =>
	prefix === undefined ? 0 : Number(prefix.slice(prefix.indexOf('/') + 1));

export const writeRule = (
	writer: NetlinkWriter,
	type: number,
	flags: number,
	rule: RoutingRule,
): string | undefined => {
	writer.message(type, flags);
	writer.u8(rule.family === 4 ? nl.AF_INET : nl.AF_INET6);
	writer.u8(lengthOf(rule.dst));
	writer.u8(lengthOf(rule.src));
	writer.u8(0);
	writer.u8(rule.table < 256 ? rule.table : 0);
	writer.u8(0);
	writer.u8(0);
	writer.u8(nl.FR_ACT_TO_TBL);
	writer.u32(0);
	writer.attrU32(nl.FRA_PRIORITY, rule.priority);
	writer.attrU32(nl.FRA_TABLE, rule.table);
	writer.attrU8(nl.FRA_PROTOCOL, rule.protocol);
	if (!writePrefix(writer, nl.FRA_SRC, rule.src)) return `"${rule.src}" is not a prefix`;
	if (!writePrefix(writer, nl.FRA_DST, rule.dst)) return `"${rule.dst}" is not a prefix`;
	if (rule.iif !== undefined) writer.attrString(nl.FRA_IIFNAME, rule.iif);
	if (rule.fwmark !== undefined) {
		writer.attrU32(nl.FRA_FWMARK, rule.fwmark.value);
		writer.attrU32(nl.FRA_FWMASK, rule.fwmark.mask);
	}
	return undefined;
};

/** Undefined for rules that do anything but look a table up. */
export const readRule = (data: Buffer, start: number, end: number): RoutingRule | undefined => {
	const family = data[start] === nl.AF_INET ? 4 : data[start] === nl.AF_INET6 ? 6 : undefined;
	if (family === undefined || data[start + 7] !== nl.FR_ACT_TO_TBL) return undefined;
	let priority = 0;
	let table = data[start + 4] as number;
	let protocol = 0;
	let mark = 0;
	let mask: number | undefined;
	const rest: { src?: string; dst?: string; iif?: string } = {};
	eachAttribute(data, start + 12, end, (type, from, to) => {
		if (type === nl.FRA_PRIORITY) priority = data.readUInt32LE(from);
		else if (type === nl.FRA_TABLE) table = data.readUInt32LE(from);
		else if (type === nl.FRA_PROTOCOL) protocol = data[from] as number;
		else if (type === nl.FRA_FWMARK) mark = data.readUInt32LE(from);
		else if (type === nl.FRA_FWMASK) mask = data.readUInt32LE(from);
		else if (type === nl.FRA_SRC) rest.src = `${addressFromBytes(data, family, from)}/${data[start + 2]}`;
		else if (type === nl.FRA_DST) rest.dst = `${addressFromBytes(data, family, from)}/${data[start + 1]}`;
		else if (type === nl.FRA_IIFNAME) rest.iif = stringOf(data, from, to);
	});
	const fwmark = mask === undefined ? {} : { fwmark: { value: mark, mask } };
	return { family, priority, table, protocol, ...rest, ...fwmark };
};

export const sameRule = (a: RoutingRule, b: RoutingRule): boolean =>
	a.table === b.table &&
	a.protocol === b.protocol &&
	a.src === b.src &&
	a.dst === b.dst &&
	a.iif === b.iif &&
	a.fwmark?.value === b.fwmark?.value &&
	a.fwmark?.mask === b.fwmark?.mask;
