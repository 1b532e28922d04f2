import { capability, extendedParameters, MARKER, message, open, parameter, parameters, TYPE, u32 } from './build.ts';
import type { Case, Reaction, State } from './cases.ts';

/** Bytes and the reaction to them: headers, OPEN, NOTIFICATION, ROUTE-REFRESH, messages where they do not belong. */

/** `code/subcode`, and after a blank its data. */
const notification = (text: string): Reaction => {
	const [code = '', ...data] = text.split(' ');
	return { notification: `${code} ${data.join('')}`.trim() };
};
const accepted: Reaction = { accepted: true };
const ignored: Reaction = { ignored: true };
const four = capability(65, u32(65000));
const ipv4 = capability(1, '00010001');

const header = (name: string, send: string, expect: string, state: State = 'Established'): Case => ({
	rfc: 'RFC 4271 §6.1',
	name,
	state,
	send,
	expect: notification(expect),
});
const opens = (rfc: string, name: string, send: string, expect: Reaction, session: Case['session'] = 'eBGP'): Case => ({
	rfc,
	name,
	session,
	state: 'OpenSent',
	send,
	expect,
});

const { OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH } = TYPE;

export const headerCases: readonly Case[] = [
	header('marker with one bit that is not set', message(KEEPALIVE, '', 19, `${'ff'.repeat(15)}7f`), '1/1'),
	header('marker of zeros', message(KEEPALIVE, '', 19, '00'.repeat(16)), '1/1'),
	header('marker of zeros', message(OPEN, '', 29, '00'.repeat(16)), '1/1', 'OpenSent'),
	header('text of another protocol', Buffer.from('GET / HTTP/1.0\r\n\r\n').toString('hex'), '1/1', 'OpenSent'),
	header('length 0', message(KEEPALIVE, '', 0), '1/2 0000'),
	header('length 18', message(KEEPALIVE, '', 18), '1/2 0012'),
	header('length 4097', message(UPDATE, '', 4097), '1/2 1001'),
	header('length 65535', message(UPDATE, '', 65535), '1/2 ffff'),
	header('OPEN of 28 octets', message(OPEN, '', 28), '1/2 001c', 'OpenSent'),
	header('OPEN of 4097 octets', message(OPEN, '', 4097), '1/2 1001', 'OpenSent'),
	header('UPDATE of 22 octets', message(UPDATE, '000000'), '1/2 0016'),
	header('NOTIFICATION of 20 octets', message(NOTIFICATION, '06'), '1/2 0014'),
	header('KEEPALIVE of 18 octets', message(KEEPALIVE, '', 18), '1/2 0012'),
	header('KEEPALIVE of 20 octets', message(KEEPALIVE, '00'), '1/2 0014'),
	header('KEEPALIVE of 20 octets', message(KEEPALIVE, '00'), '1/2 0014', 'OpenConfirm'),
	header('ROUTE-REFRESH of 21 octets', message(ROUTE_REFRESH, '0001'), '1/2 0015'),
	header('ROUTE-REFRESH of 24 octets', message(ROUTE_REFRESH, '0001000100'), '1/2 0018'),
	header('type 0', message(0), '1/3 00'),
	header('type 6', message(6), '1/3 06'),
	header('type 255', message(255, '0000'), '1/3 ff', 'OpenSent'),
	{
		rfc: 'RFC 8654 §4',
		name: 'KEEPALIVE of 5000 octets where long messages are agreed',
		session: 'eBGP, long messages',
		send: message(KEEPALIVE, '', 5000),
		expect: notification('1/2 1388'),
	},
];

const with4 = (...more: string[]): string => parameters(parameter(2, [ipv4, four, ...more].join('')));

export const openCases: readonly Case[] = [
	opens('RFC 4271 §6.2', 'version 3', open({ version: 3 }), notification('2/1 0004')),
	opens('RFC 4271 §6.2', 'version 5', open({ version: 5 }), notification('2/1 0004')),
	opens('RFC 4271 §6.2', 'another AS than configured', open({ as: 65009 }), notification(`2/2 ${u32(65009)}`)),
	opens('RFC 4271 §6.2', 'our AS from an external peer', open({ as: 64512 }), notification(`2/2 ${u32(64512)}`)),
	opens('RFC 7607 §2', 'AS 0', open({ as: 0 }), notification('2/2')),
	opens(
		'RFC 7607 §2',
		'AS 0 in the capability',
		open({ as: 23456, parameters: parameters(parameter(2, capability(65, u32(0)))) }),
		notification('2/2'),
	),
	opens('RFC 6793 §4.1', 'AS_TRANS without the capability', open({ as: 23456 }), notification(`2/2 ${u32(23456)}`)),
	opens(
		'RFC 6793 §4.1',
		'AS_TRANS, and another AS in the capability',
		open({ as: 23456, parameters: parameters(parameter(2, capability(65, u32(4200000009)))) }),
		notification(`2/2 ${u32(4200000009)}`),
	),
	opens(
		'RFC 6793 §4.1',
		'one AS in the field and another in the capability',
		open({ as: 65009, parameters: with4() }),
		notification(`2/2 ${u32(65000)}`),
	),
	opens('RFC 6793 §4.1', 'AS_TRANS, and the AS in the capability', open({ as: 23456, parameters: with4() }), accepted),
	opens('RFC 4271 §6.2', 'hold time 1', open({ holdTime: 1 }), notification('2/6')),
	opens('RFC 4271 §6.2', 'hold time 2', open({ holdTime: 2 }), notification('2/6')),
	opens('RFC 4271 §4.2', 'hold time 0', open({ holdTime: 0 }), accepted),
	opens('RFC 4271 §4.2', 'hold time 3', open({ holdTime: 3 }), accepted),
	opens('RFC 6286 §2.2', 'identifier 0.0.0.0', open({ id: '00000000' }), notification('2/3')),
	opens('RFC 6286 §2.2', 'our identifier from an external peer', open({ id: 'c0000201' }), accepted),
	opens(
		'RFC 6286 §2.2',
		'our identifier from an internal peer',
		open({ as: 64512, id: 'c0000201' }),
		notification('2/3 c0000201'),
		'iBGP',
	),
	opens('RFC 6286 §2.1', 'an identifier that is no address of a host', open({ id: 'ffffffff' }), accepted),
	opens(
		'RFC 4271 §6.2',
		'optional parameter 1',
		open({ parameters: parameters(parameter(1, '00')) }),
		notification('2/4'),
	),
	opens(
		'RFC 4271 §6.2',
		'optional parameter 77',
		open({ parameters: parameters(parameter(77, '')) }),
		notification('2/4'),
	),
	opens(
		'RFC 4271 §6.2',
		'optional parameter 77 after capabilities',
		open({ parameters: parameters(parameter(2, four), parameter(77, '0102')) }),
		notification('2/4'),
	),
	opens('RFC 4271 §6.2', 'parameters longer than their length', open({ parameters: '020202 00' }), notification('2/0')),
	opens(
		'RFC 4271 §6.2',
		'parameters shorter than their length',
		open({ parameters: '060202 0200' }),
		notification('2/0'),
	),
	opens('RFC 4271 §6.2', 'a parameter beyond the parameters', open({ parameters: '040206 0200' }), notification('2/0')),
	opens('RFC 4271 §6.2', 'a parameter without its length', open({ parameters: '05 02020200 02' }), notification('2/0')),
	opens(
		'RFC 4271 §6.2',
		'a capability beyond its parameter',
		open({ parameters: '04 0202 4104' }),
		notification('2/0'),
	),
	opens('RFC 4271 §6.2', 'half a header of a capability', open({ parameters: '03 0201 02' }), notification('2/0')),
	opens(
		'RFC 4271 §6.2',
		'capability for 4-octet AS numbers with three octets',
		open({ parameters: parameters(parameter(2, capability(65, '00fde8'))) }),
		notification('2/0'),
	),
	opens(
		'RFC 4271 §6.2',
		'multiprotocol capability with five octets',
		open({ parameters: parameters(parameter(2, capability(1, '0001000100'))) }),
		notification('2/0'),
	),
	opens(
		'RFC 4724 §3',
		'graceful restart capability with three octets',
		open({ parameters: with4(capability(64, '007800')) }),
		notification('2/0'),
	),
	opens(
		'RFC 7911 §4',
		'add-path capability with five octets',
		open({ parameters: with4(capability(69, '0001010100')) }),
		notification('2/0'),
	),
	opens(
		'RFC 5492 §3',
		'capabilities nobody knows',
		open({ parameters: with4(capability(199, '0102'), capability(255)) }),
		accepted,
	),
	opens(
		'RFC 5492 §4',
		'a parameter for each capability, some of them twice',
		open({ parameters: parameters(parameter(2, ipv4), parameter(2, four), parameter(2, ipv4), parameter(2, '')) }),
		accepted,
	),
	opens(
		'RFC 5492 §3',
		'no family that we have',
		open({ parameters: parameters(parameter(2, capability(1, '00190046') + four)) }),
		notification('2/7 01040001000101040002 0001'),
	),
	opens(
		'RFC 9072 §2',
		'extended parameters',
		open({ parameters: `ff${extendedParameters('02', '000c', ipv4, four)}` }),
		accepted,
	),
	opens(
		'RFC 9072 §2',
		'extended parameters, whose first length is not 255',
		open({ parameters: `01${extendedParameters('02', '000c', ipv4, four)}` }),
		accepted,
	),
	opens('RFC 9072 §2', 'extended parameters cut off', open({ parameters: 'ff ff00' }), notification('2/0')),
	opens(
		'RFC 9072 §2',
		'extended parameters of the wrong length',
		open({ parameters: `ff ff000d 02000c${ipv4}${four}` }),
		notification('2/0'),
	),
	opens(
		'RFC 9072 §2',
		'type 255 in another place than the first',
		open({ parameters: parameters(parameter(2, four), parameter(255, '00')) }),
		notification('2/4'),
	),
	opens(
		'RFC 9234 §4.2',
		'a role that does not fit ours',
		open({ as: 65000, parameters: with4(capability(9, '03')) }),
		notification('2/11'),
		'eBGP, customer',
	),
	opens(
		'RFC 9234 §4.2',
		'two roles that differ',
		open({ as: 65000, parameters: with4(capability(9, '00'), capability(9, '03')) }),
		notification('2/11'),
		'eBGP, customer',
	),
	opens(
		'RFC 9234 §4.2',
		'no role where one is asked for',
		open({ parameters: with4() }),
		notification('2/11'),
		'eBGP, customer',
	),
	opens(
		'RFC 9234 §4.2',
		'the role that fits',
		open({ parameters: with4(capability(9, '00')) }),
		accepted,
		'eBGP, customer',
	),
];

const unexpected = (state: State, name: string, send: string, expect: string, rfc = 'RFC 6608 §3'): Case => ({
	rfc,
	name,
	state,
	send,
	expect: notification(expect),
});
const endOfRib = message(UPDATE, '00000000');
const refresh = message(ROUTE_REFRESH, '00010001');

export const stateCases: readonly Case[] = [
	unexpected('OpenSent', 'KEEPALIVE', message(KEEPALIVE), '5/1 04'),
	unexpected('OpenSent', 'UPDATE', endOfRib, '5/1 02'),
	unexpected('OpenSent', 'UPDATE that is malformed', message(UPDATE, '00010000'), '5/1 02'),
	unexpected('OpenSent', 'ROUTE-REFRESH', refresh, '5/1 05'),
	unexpected('OpenConfirm', 'UPDATE', endOfRib, '5/2 02'),
	unexpected('OpenConfirm', 'OPEN', open({}), '5/2 01'),
	unexpected('OpenConfirm', 'ROUTE-REFRESH', refresh, '5/2 05'),
	unexpected('OpenConfirm', 'OPEN that is malformed', open({ version: 3 }), '2/1 0004', 'RFC 4271 §8.2.2'),
	unexpected('Established', 'OPEN', open({}), '5/3 01'),
	unexpected('Established', 'OPEN that is malformed', open({ version: 3 }), '5/3 01'),
	{ rfc: 'RFC 4271 §6.4', name: 'NOTIFICATION', send: message(NOTIFICATION, '0604'), expect: { closed: true } },
	{
		rfc: 'RFC 4271 §6.4',
		name: 'NOTIFICATION of a code nobody knows',
		send: message(NOTIFICATION, 'c8c8010203'),
		expect: { closed: true },
	},
	{
		rfc: 'RFC 4271 §6.4',
		name: 'NOTIFICATION in place of an OPEN',
		state: 'OpenSent',
		send: message(NOTIFICATION, '0605'),
		expect: { closed: true },
	},
];

const refreshCase = (name: string, body: string, expect: Reaction): Case => ({
	rfc: 'RFC 7313 §5',
	name,
	send: message(ROUTE_REFRESH, body),
	expect,
});
const long = `00010101${'00'.repeat(4073)}`;

export const refreshCases: readonly Case[] = [
	refreshCase('begin of refresh of 3 octets', '000101', notification(`7/1 ${MARKER}001605000101`)),
	refreshCase('begin of refresh of 5 octets', '0001010100', notification(`7/1 ${MARKER}0018050001010100`)),
	refreshCase('end of refresh of 6 octets', '000102010000', notification(`7/1 ${MARKER}001905000102010000`)),
	refreshCase(
		'begin of refresh of 4096 octets: as much of it as a NOTIFICATION holds',
		long,
		notification(`7/1 ${message(ROUTE_REFRESH, long).slice(0, 2 * (4096 - 21))}`),
	),
	refreshCase('subtype 3', '00010301', ignored),
	refreshCase('subtype 255 of another length', '0001ff01aabb', ignored),
	refreshCase('a family that was not agreed', '00190046', ignored),
	refreshCase('begin and end of a family that was not agreed', '00190146', ignored),
	refreshCase('end of refresh without a begin', '00010201', ignored),
];
