import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PeerConfig, SpeakerConfig } from '../../bird/config.ts';
import { createPeerNames } from '../../bird/peer-names.ts';

const peer = (name: string, address: string, asNumber = 64512): PeerConfig => ({
	name,
	address,
	port: 179,
	asNumber,
	passive: false,
	families: ['1/1'],
	holdTime: 90,
	restartTime: 120,
	exportLearnt: false,
});
const config = (...peers: PeerConfig[]): SpeakerConfig => ({
	asNumber: 64512,
	routerId: '192.0.2.11',
	listen: [],
	addresses: {},
	originate: [],
	maximumPaths: 1,
	peers,
});

describe('names of peers', () => {
	/** Names within, as configurations follow one another. */
	const play = (...steps: readonly (readonly PeerConfig[])[]): string[][] => {
		const names = createPeerNames();
		return steps.map((peers) =>
			names.take(config(...peers)).peers.map(({ name }) => {
				assert.equal(names.within(names.shown(name)), name);
				return `${name} as ${names.shown(name)}`;
			}),
		);
	};
	const mesh = peer('mesh/n2', '192.0.2.12');
	const reflector = peer('peer/reflectors/n2', '192.0.2.12');

	it('a peer that another object asks for goes on under its first name', () => {
		assert.deepEqual(play([mesh], [reflector], [reflector], [mesh]), [
			['mesh/n2 as mesh/n2'],
			['mesh/n2 as peer/reflectors/n2'],
			['mesh/n2 as peer/reflectors/n2'],
			['mesh/n2 as mesh/n2'],
		]);
	});

	it('another address, AS or link is another peer', () => {
		assert.deepEqual(play([mesh], [peer('peer/a', '192.0.2.13')])[1], ['peer/a as peer/a']);
		assert.deepEqual(play([mesh], [peer('peer/a', '192.0.2.12', 65001)])[1], ['peer/a as peer/a']);
		assert.deepEqual(play([mesh], [{ ...peer('peer/a', '192.0.2.12'), interface: 'eth1' }])[1], ['peer/a as peer/a']);
	});

	it('who keeps its name leaves it to nobody', () => {
		assert.deepEqual(play([mesh], [mesh, reflector])[1], [
			'mesh/n2 as mesh/n2',
			'peer/reflectors/n2 as peer/reflectors/n2',
		]);
	});

	it('a name that is still in use within is given to no other', () => {
		const moved = peer('mesh/n2', '192.0.2.99');
		assert.deepEqual(play([mesh], [reflector], [reflector, moved], [moved]), [
			['mesh/n2 as mesh/n2'],
			['mesh/n2 as peer/reflectors/n2'],
			['mesh/n2 as peer/reflectors/n2', 'mesh/n2#2 as mesh/n2'],
			['mesh/n2#2 as mesh/n2'],
		]);
	});

	it('a speaker that starts anew has the names of its configuration', () => {
		const names = createPeerNames();
		names.take(config(mesh));
		names.take(config(reflector));
		names.forget();
		assert.deepEqual(names.take(config(reflector)).peers, [reflector]);
	});
});
