import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parse } from 'yaml';
import { z } from 'zod';
import { canonicalCidr } from './net/ip.ts';
import { parseListenAddress } from './net/listen-address.ts';

/**
 * Settings of a daemon. Sources, later ones win: defaults, the YAML file given with --config, MANX_* environment
 * variables. Unknown keys are refused with the nearest known one; nothing is guessed.
 */

const cidrs = z.array(
	z.string().transform((value, context) => {
		const canonical = canonicalCidr(value);
		if (canonical !== undefined) return canonical;
		context.addIssue(`'${value}' is not a CIDR such as 10.0.0.0/8`);
		return z.NEVER;
	}),
);

/** Name, how it is checked, and what it is for; docs/reference/settings.md lists the same. */
const shape = {
	/** This node's name, as in the Node object. */
	nodeName: z.string().min(1).default(hostname()),
	/** Where the objects come from; unless told, `kubernetes` in a pod and the directory elsewhere. */
	datastore: z
		.discriminatedUnion('kind', [
			z.strictObject({ kind: z.literal('directory'), path: z.string().min(1).default('/etc/manx/objects') }),
			z.strictObject({ kind: z.literal('kubernetes'), kubeconfig: z.string().startsWith('/').optional() }),
		])
		.default({ kind: 'directory', path: '/etc/manx/objects' }),
	/** How the nodes learn each other's pod networks. */
	mode: z.enum(['bgp', 'host-gw']).default('bgp'),
	/** Where sockets and records live. */
	runDir: z.string().startsWith('/').default('/run/manx'),
	/** Whether traffic that leaves the pod networks takes the node's address. */
	masquerade: z.boolean().default(true),
	/** Prefixes beside the pod networks that pods reach with their own address. */
	nonMasqueradeCIDRs: cidrs.default([]),
	/** Prefixes of all pods; empty: every node's podCIDRs together. */
	podNetworks: cidrs.default([]),
	/** Interface name or prefix to take the node's addresses from; empty: the Node's InternalIP. */
	nodeAddress: z.string().default(''),
	/** MTU of pod interfaces; 0: that of the uplink. */
	mtu: z.int().min(0).max(65535).default(0),
	iptablesBackend: z.enum(['auto', 'legacy', 'nft']).default('auto'),
	/** Whether our accept stands before a rule that ends FORWARD, such as ufw's reject, instead of after all others. */
	acceptBeforeReject: z.boolean().default(false),
	/** Where the files of the host are, to look for programs that get in the way; empty: they are not looked at. */
	hostRoot: z.union([z.literal(''), z.string().startsWith('/')]).default('/'),
	/** Where /proc/sys/net can be written; another place in a container that is not privileged. */
	sysctlRoot: z.string().startsWith('/').default('/proc/sys/net'),
	/** Folder felix writes its CNI configuration to when it can serve; empty: it writes none. */
	cniConfDir: z.union([z.literal(''), z.string().startsWith('/')]).default(''),
	/** Folder of the CNI executables, for install-cni and cleanup; empty: they are somebody else's care. */
	cniBinDir: z.union([z.literal(''), z.string().startsWith('/')]).default(''),
	/** Where probes and metrics are served, with or without port (felix 9473, bird 9474); empty: nowhere. */
	metricsAddress: z
		.string()
		.refine((text) => text === '' || parseListenAddress(text, 1) !== undefined, 'must be ADDRESS or ADDRESS:PORT')
		.default('127.0.0.1'),
	logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
	/** Folder of the files that BGPPeer and BGPConfiguration name as passwords. */
	passwordDir: z.string().startsWith('/').default('/etc/manx/passwords'),
	/** Seconds between full comparisons of the kernel with what is wanted. */
	resyncSeconds: z.int().min(1).max(86400).default(60),
};

const schema = z.strictObject(shape);

export type Settings = Readonly<z.infer<typeof schema>>;

/** Edits that turn one word into the other (Levenshtein), for "did you mean". */
const distance = (a: string, b: string): number => {
	let row = Array.from({ length: b.length + 1 }, (_, i) => i);
	for (let i = 1; i <= a.length; i++) {
		const next = [i];
		for (let j = 1; j <= b.length; j++) {
			const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
			next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
		}
		row = next;
	}
	return row[b.length] as number;
};

/** The known word nearest to one that is not known. */
export const nearest = (word: string, known: readonly string[]): string =>
	known.reduce((best, candidate) =>
		distance(word.toLowerCase(), candidate.toLowerCase()) < distance(word.toLowerCase(), best.toLowerCase())
			? candidate
			: best,
	);

/** `nodeName` is MANX_NODE_NAME, `nonMasqueradeCIDRs` MANX_NON_MASQUERADE_CIDRS. */
const variableOf = (key: string): string =>
	`MANX_${key
		.replace(/CIDRs$/, 'Cidrs')
		.replace(/([A-Z])/g, '_$1')
		.toUpperCase()}`;

const fromEnvironment = (environment: NodeJS.ProcessEnv): { values: Record<string, unknown>; unknown: string[] } => {
	const values: Record<string, unknown> = {};
	const keyOf = new Map(Object.keys(shape).map((key) => [variableOf(key), key]));
	const unknown: string[] = [];
	for (const [variable, text] of Object.entries(environment)) {
		if (!variable.startsWith('MANX_') || text === undefined) continue;
		const key = keyOf.get(variable);
		if (key === undefined) {
			// Kubernetes tells a pod of every Service, one named manx-metrics too: MANX_METRICS_SERVICE_HOST, _PORT_80_TCP.
			if (!/_SERVICE_(HOST|PORT)(_|$)|_PORT(_\d+_(TCP|UDP|SCTP).*)?$/.test(variable)) unknown.push(variable);
		}
		if (key === undefined) continue;
		if (key === 'datastore') values[key] = text === 'kubernetes' ? { kind: text } : { kind: 'directory', path: text };
		else if (Array.isArray(shape[key as keyof typeof shape].safeParse(undefined).data)) {
			values[key] = text.split(',').filter((item) => item !== '');
		} else if (/^(true|false|\d+)$/.test(text) && !['nodeName', 'nodeAddress'].includes(key)) {
			values[key] = JSON.parse(text) as unknown;
		} else values[key] = text;
	}
	return { values, unknown };
};

export type SettingsResult =
	| { readonly ok: true; readonly settings: Settings }
	| { readonly ok: false; readonly error: string };

/** Read when no file is given and this one is there; a ConfigMap is mounted at its folder. */
const defaultFile = '/etc/manx/settings.yaml';

/** Reads and checks the settings; `error` names source, key, reason and what to do. */
export const loadSettings = (given: string | undefined, environment: NodeJS.ProcessEnv): SettingsResult => {
	const file = given ?? (existsSync(defaultFile) ? defaultFile : undefined);
	const fail = (error: string): SettingsResult => ({ ok: false, error });
	let values: Record<string, unknown> = {};
	if (file !== undefined) {
		try {
			const parsed = parse(readFileSync(file, 'utf8')) as unknown;
			if (parsed !== null && (typeof parsed !== 'object' || Array.isArray(parsed))) {
				return fail(`${file} must hold settings as 'key: value' lines.`);
			}
			values = { ...(parsed as object) };
		} catch (error) {
			return fail(`The settings in ${file} cannot be read: ${(error as Error).message}`);
		}
	}
	const known = Object.keys(shape);
	for (const key of Object.keys(values)) {
		if (!known.includes(key)) {
			return fail(`${file}: there is no setting '${key}'. Did you mean '${nearest(key, known)}'?`);
		}
	}
	const variables = fromEnvironment(environment);
	const stray = variables.unknown[0];
	if (stray !== undefined) {
		const wanted = nearest(stray, known.map(variableOf));
		return fail(`There is no setting for the environment variable ${stray}. Did you mean ${wanted}?`);
	}
	const inPod = environment.KUBERNETES_SERVICE_HOST !== undefined;
	const merged: Record<string, unknown> = {
		...(inPod && { datastore: { kind: 'kubernetes' } }),
		...values,
		...variables.values,
	};
	// MANX_DATASTORE says which, the file may say with what kubeconfig.
	const fromFile = values.datastore as { kind?: unknown } | undefined;
	if (environment.MANX_DATASTORE === 'kubernetes' && fromFile?.kind === 'kubernetes') merged.datastore = fromFile;
	const result = schema.safeParse(merged);
	if (result.success) {
		const { datastore } = result.data;
		if (datastore.kind === 'kubernetes' && datastore.kubeconfig === undefined && !inPod) {
			return fail(
				'Setting datastore: kubernetes needs a kubeconfig outside of a pod (KUBERNETES_SERVICE_HOST is not set): ' +
					'give datastore: {kind: kubernetes, kubeconfig: /path}. See docs/reference/settings.md.',
			);
		}
		return { ok: true, settings: result.data };
	}
	const issue = result.error.issues[0];
	return fail(`Setting ${issue?.path.join('.')}: ${issue?.message}. See docs/reference/settings.md.`);
};
