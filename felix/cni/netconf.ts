import { type CniError, cniCodes, cniError, latestVersion } from './errors.ts';

/**
 * The two inputs of a CNI plugin, validated: network configuration (stdin) and environment. Pure.
 * What `runtimeConfig` asks for (portMappings, bandwidth) is done by the standard plugins that follow in the conflist.
 */

export const supportedVersions = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof supportedVersions)[number];

export type AttachmentId = { readonly containerID: string; readonly ifname: string };

export type Netconf = {
	readonly cniVersion: CniVersion;
	/** Name of the network. */
	readonly name: string;
	readonly dns: object;
	/** Of what the pod sends: the `bandwidth` plugin does it, with an ingress qdisc at the host's end. */
	readonly shaped?: true;
	/** As the runtime cached it; absent on a first ADD. */
	readonly prevResult?: Record<string, unknown>;
	/** GC: the attachments that must stay (`cni.dev/valid-attachments`). */
	readonly validAttachments?: readonly AttachmentId[];
};

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

/** The environment of ADD, DEL and CHECK. */
export type PodEnvironment = AttachmentId & {
	/** Path; '' may come with DEL only. */
	readonly netns: string;
	readonly podNamespace: string;
	readonly podName: string;
	readonly podUID: string;
};

type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: CniError };

const fail = (code: number, msg: string, details: string) =>
	({ ok: false, error: cniError(code, msg, details) }) as const;

const isObject = (value: unknown): value is Record<string, unknown> =>
	typeof value === 'object' && value !== null && !Array.isArray(value);

/** The version to answer in: the one asked for when it looks like one. Never fails. */
export const answerVersion = (stdin: string): string => {
	try {
		const conf: unknown = JSON.parse(stdin);
		const version = isObject(conf) ? conf.cniVersion : undefined;
		return typeof version === 'string' && /^[0-9.]{1,15}$/.test(version) ? version : latestVersion;
	} catch {
		return latestVersion;
	}
};

/** Parses stdin. `command` matters for the versions in which a verb exists. */
export const parseNetconf = (stdin: string, command: Command): Result<Netconf> => {
	let conf: unknown;
	try {
		conf = JSON.parse(stdin);
	} catch (error) {
		return fail(cniCodes.undecodable, 'failed to decode the network configuration', String(error));
	}
	if (!isObject(conf)) {
		return fail(cniCodes.undecodable, 'failed to decode the network configuration', 'it is not a JSON object');
	}
	// A configuration without the field is version 0.1.0 (CNI spec, "Plugin configuration objects").
	const cniVersion = supportedVersions.find((version) => version === (conf.cniVersion ?? '0.1.0'));
	if (cniVersion === undefined) {
		const supported = supportedVersions.join(', ');
		const asked = JSON.stringify(conf.cniVersion ?? '0.1.0');
		return fail(
			cniCodes.incompatibleVersion,
			'incompatible CNI version',
			`the configuration asks for ${asked}; supported are ${supported}`,
		);
	}
	const since = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' } as const;
	const first = command in since ? since[command as keyof typeof since] : '0.3.1';
	if (supportedVersions.indexOf(cniVersion) < supportedVersions.indexOf(first)) {
		return fail(cniCodes.incompatibleVersion, 'incompatible CNI version', `${command} exists from ${first} on`);
	}
	if (typeof conf.name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(conf.name)) {
		return fail(cniCodes.invalidConfig, 'invalid network configuration', 'name is missing or malformed');
	}
	if (typeof conf.type !== 'string' || conf.type === '') {
		return fail(cniCodes.invalidConfig, 'invalid network configuration', 'type is missing');
	}
	if (conf.prevResult !== undefined && conf.prevResult !== null && !isObject(conf.prevResult)) {
		return fail(cniCodes.invalidConfig, 'invalid network configuration', 'prevResult is not an object');
	}
	const valid = conf['cni.dev/valid-attachments'] ?? conf['cni.dev/attachments'];
	if (valid !== undefined && !isAttachmentList(valid)) {
		return fail(
			cniCodes.invalidConfig,
			'invalid network configuration',
			'cni.dev/valid-attachments must be a list of {containerID, ifname}',
		);
	}
	return {
		ok: true,
		value: {
			cniVersion,
			name: conf.name,
			dns: isObject(conf.dns) ? conf.dns : {},
			...(isShaped(conf.runtimeConfig) && { shaped: true }),
			...(isObject(conf.prevResult) && { prevResult: conf.prevResult }),
			...(valid !== undefined && { validAttachments: valid }),
		},
	};
};

/**
 * `egressRate`, in bits a second (https://www.cni.dev/plugins/current/meta/bandwidth), in whatever case: containerd writes
 * `EgressRate`, which Go's decoder takes as well.
 */
const isShaped = (runtimeConfig: unknown): boolean =>
	isObject(runtimeConfig) &&
	isObject(runtimeConfig.bandwidth) &&
	Object.entries(runtimeConfig.bandwidth).some(([key, rate]) => /^egressRate$/i.test(key) && Number(rate) > 0);

const isAttachmentList = (value: unknown): value is AttachmentId[] =>
	Array.isArray(value) &&
	value.every((one) => isObject(one) && typeof one.containerID === 'string' && typeof one.ifname === 'string');

/** At most 180 bytes, so that the veth's alias holds it with interface and addresses (255 in all). */
const validContainerID = (id: string): boolean => /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,179}$/.test(id);

/** As the CNI spec and `dev_valid_name()` (net/core/dev.c) have it. */
const validIfname = (name: string): boolean =>
	Buffer.byteLength(name) <= 15 && /^[^/:\s\p{Cc}]+$/u.test(name) && name !== '.' && name !== '..';

const commands: readonly string[] = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] satisfies Command[];

export const parseCommand = (env: ReadonlyMap<string, string>): Result<Command> => {
	const command = env.get('CNI_COMMAND') ?? '';
	return commands.includes(command)
		? { ok: true, value: command as Command }
		: fail(cniCodes.invalidEnvironment, 'invalid environment', `CNI_COMMAND must be one of ${commands.join(', ')}`);
};

/** Parses the environment of ADD, DEL and CHECK; the pod's names are demanded of ADD only. */
export const parsePodEnvironment = (env: ReadonlyMap<string, string>, command: Command): Result<PodEnvironment> => {
	const invalid = (details: string) => fail(cniCodes.invalidEnvironment, 'invalid environment', details);
	const containerID = env.get('CNI_CONTAINERID') ?? '';
	const ifname = env.get('CNI_IFNAME') ?? '';
	const netns = env.get('CNI_NETNS') ?? '';
	if (!validContainerID(containerID)) return invalid('CNI_CONTAINERID is missing, malformed or over 180 bytes');
	if (!validIfname(ifname)) return invalid('CNI_IFNAME is missing or malformed');
	if (netns === '' && command !== 'DEL') return invalid('CNI_NETNS is missing');
	if (netns !== '' && !netns.startsWith('/')) return invalid(`CNI_NETNS ${netns} is not an absolute path`);
	const args = new Map<string, string>();
	for (const pair of (env.get('CNI_ARGS') ?? '').split(';')) {
		const equals = pair.indexOf('=');
		if (equals > 0) args.set(pair.slice(0, equals), pair.slice(equals + 1));
	}
	const podNamespace = args.get('K8S_POD_NAMESPACE') ?? '';
	const podName = args.get('K8S_POD_NAME') ?? '';
	if (command === 'ADD' && (podNamespace === '' || podName === '')) {
		return invalid('CNI_ARGS must carry K8S_POD_NAMESPACE and K8S_POD_NAME');
	}
	return {
		ok: true,
		value: { containerID, ifname, netns, podNamespace, podName, podUID: args.get('K8S_POD_UID') ?? '' },
	};
};
