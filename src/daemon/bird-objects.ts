import type { SecretKeyRef } from '../api/bgp-fields.ts';
import type { BFDProfile, BGPConfiguration, BGPFilter, BGPPeer, Node } from '../api/objects.ts';
import { keyOf } from '../api/objects.ts';
import type { Change } from '../datastore/datastore.ts';
import { createServiceRoutes, hasRanges, type ServiceRoutes } from './service-routes.ts';

/** The objects bird goes by, as they last were. */

export type BirdObjects = {
	readonly nodes: ReadonlyMap<string, Node>;
	readonly peers: ReadonlyMap<string, BGPPeer>;
	readonly filters: ReadonlyMap<string, BGPFilter>;
	/** Deleted while peers name them. */
	readonly lostFilters: ReadonlyMap<string, BGPFilter>;
	readonly profiles: ReadonlyMap<string, BFDProfile>;
	/** Of a folder of objects; by name. */
	readonly secrets: ReadonlyMap<string, Readonly<Record<string, string>>>;
	readonly services: Pick<ServiceRoutes, 'prefixes'>;
	readonly configuration: () => BGPConfiguration | undefined;
	/** False when they can make no difference to the speaker. */
	readonly take: (changes: readonly Change[]) => boolean;
	/** Keys of Secrets that are named. */
	readonly secretRefs: () => readonly SecretKeyRef[];
};

export const createBirdObjects = (): BirdObjects => {
	const nodes = new Map<string, Node>();
	const peers = new Map<string, BGPPeer>();
	const filters = new Map<string, BGPFilter>();
	const lostFilters = new Map<string, BGPFilter>();
	const profiles = new Map<string, BFDProfile>();
	const secrets = new Map<string, Readonly<Record<string, string>>>();
	const services = createServiceRoutes();
	let configuration: BGPConfiguration | undefined;

	const set = <T>(map: Map<string, T>, key: string, object: T | undefined): true => {
		if (object === undefined) map.delete(key);
		else map.set(key, object);
		return true;
	};
	const named = (filter: string): boolean =>
		[...peers.values()].some(({ spec }) => spec.session.filters?.includes(filter) === true);

	const takeOne = (change: Change): boolean => {
		const object = change.type === 'set' ? change.object : undefined;
		const kind = change.type === 'set' ? change.object.kind : change.kind;
		const key = change.type === 'set' ? keyOf(change.object.metadata) : change.key;
		switch (kind) {
			case 'Node':
				return set(nodes, key, object?.kind === kind ? object : undefined);
			case 'BGPPeer':
				return set(peers, key, object?.kind === kind ? object : undefined);
			case 'BFDProfile':
				return set(profiles, key, object?.kind === kind ? object : undefined);
			case 'BGPFilter': {
				const before = filters.get(key);
				if (object === undefined && before !== undefined && named(key)) lostFilters.set(key, before);
				else lostFilters.delete(key);
				return set(filters, key, object?.kind === kind ? object : undefined);
			}
			case 'BGPConfiguration':
				configuration = object?.kind === kind ? object : undefined;
				return true;
			case 'Secret': {
				const name = key.slice(key.indexOf('/') + 1);
				return set(secrets, name, object?.kind === kind ? object.values : undefined);
			}
			case 'Service':
			case 'EndpointSlice':
				if (object?.kind === kind) services.set(object);
				else services.delete(kind, key);
				return configuration !== undefined && hasRanges(configuration.spec);
			default:
				return false;
		}
	};

	return {
		nodes,
		peers,
		filters,
		lostFilters,
		profiles,
		secrets,
		services,
		configuration: () => configuration,
		take: (changes) => {
			let matters = false;
			for (const change of changes) matters = takeOne(change) || matters;
			for (const name of lostFilters.keys()) if (!named(name)) lostFilters.delete(name);
			return matters;
		},
		secretRefs: () => {
			const mesh = configuration?.spec.nodeMeshPassword;
			return [...(mesh ? [mesh] : []), ...[...peers.values()].flatMap(({ spec }) => spec.session.password ?? [])];
		},
	};
};
