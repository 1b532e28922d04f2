/** The table and its cluster as they are written, and the notation of its probes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import type { ManxObject, Namespace, NetworkPolicy, Pod } from '../../src/api/objects.ts';
import { validate } from '../../src/api/validate.ts';
import { type Family, familyOf } from '../../src/net/ip.ts';
import type { Transport } from './raw-packets.ts';

export type Step = {
	/** By `namespace/name`; a spec as in a manifest, null: deleted. */
	readonly policies?: Readonly<Record<string, object | null>>;
	readonly pods?: Readonly<Record<string, PodChange | null>>;
	readonly namespaces?: Readonly<Record<string, Readonly<Record<string, string>> | null>>;
	readonly unwired?: readonly string[];
	readonly wired?: readonly string[];
	readonly allow?: readonly string[];
	readonly deny?: readonly string[];
	readonly replies?: readonly string[];
	readonly related?: readonly string[];
	/** Flows that nobody answers, kept by name as `open` ones are. */
	readonly oneWay?: readonly string[];
	readonly open?: readonly string[];
	readonly alive?: readonly string[];
	readonly ended?: readonly string[];
};

export type PodChange = {
	readonly labels?: Readonly<Record<string, string>>;
	readonly phase?: string;
	readonly ips?: readonly string[];
	readonly ports?: readonly object[];
	readonly initContainers?: readonly object[];
	readonly hostNetwork?: boolean;
	/** `here` or `there`, where that is another than before. */
	readonly nodeName?: string;
	/** Its deletion has begun. */
	readonly terminating?: boolean;
};

export type Case = Step & {
	readonly case: string;
	readonly families?: readonly Family[];
	readonly then?: readonly Step[];
};

const textOf = (file: string): string => readFileSync(join(import.meta.dirname, file), 'utf8');

/** As the datastore reads it; a manifest that is refused ends the run. `apiVersion` is v1 unless given. */
export const readObject = (raw: object): ManxObject => {
	const result = validate({ apiVersion: 'v1', ...raw });
	if (result.type === 'object') return result.object;
	throw new Error(`${JSON.stringify(raw)}: ${JSON.stringify(result)}`);
};

export const readCases = (): readonly Case[] => parse(textOf('table.yaml')) as Case[];

export const readCluster = (): readonly (Namespace | Pod)[] =>
	parseAllDocuments(textOf('cluster.yaml')).map((document) => readObject(document.toJS() as object) as Namespace | Pod);

export const readPolicy = (key: string, spec: object): NetworkPolicy => {
	const [namespace, name] = key.split('/');
	const kind = 'NetworkPolicy';
	return readObject({ apiVersion: 'networking.k8s.io/v1', kind, metadata: { namespace, name }, spec }) as NetworkPolicy;
};

export type Probe = {
	/** As written, for messages. */
	readonly text: string;
	readonly from: string;
	readonly to: string;
	readonly family: Family;
	readonly protocol: Transport;
	readonly port: number;
};

/** `A B -> C D : 80/TCP icmp`: every combination, in every family. */
export const probesOf = (lines: readonly string[] | undefined, families: readonly Family[]): readonly Probe[] =>
	(lines ?? []).flatMap((line) => {
		const match = /^(.+) -> (.+) : (.+)$/.exec(line);
		if (match === null) throw new Error(`a probe is SOURCES -> DESTINATIONS : PORT/PROTOCOL ..., not "${line}"`);
		const [sources = [], destinations = [], ports = []] = match.slice(1).map((part) => part.split(' '));
		return sources.flatMap((from) =>
			destinations.flatMap((to) =>
				ports.flatMap((what) => {
					const [port = '', protocol = ''] = /^(icmp|other)$/.test(what) ? ['0', what.toUpperCase()] : what.split('/');
					if (!['TCP', 'UDP', 'SCTP', 'ICMP', 'OTHER'].includes(protocol))
						throw new Error(`${what} is no port in "${line}"`);
					return families.map((family) => ({
						text: `${from} -> ${to} : ${what}, IPv${family}`,
						from,
						to,
						family,
						protocol: protocol as Transport,
						port: Number(port),
					}));
				}),
			),
		);
	});

/** `10.0.0.1|fd00::1`: an address a family. */
export const literalAddress = (text: string, family: Family): string | undefined =>
	text.split('|').find((part) => /^[0-9a-f.:]+$/.test(part) && familyOf(part) === family);
