import { join } from 'node:path';
import { parseCidr } from '../net/ip.ts';
import { paths } from './lab-state.ts';
import { bodyAt, isBody, listAt, textAt } from './manifests.ts';
import type { Sandbox } from './plan.ts';
import { inNetns, run, sleep } from './shell.ts';

/**
 * Calls the CNI plugin as containerd does: the plugin's file is executed in the node's namespaces, with the
 * configuration on its standard input and the sandbox in its environment (CNI spec 1.0, §2).
 */

export type CniError = { readonly code: number; readonly message: string };
export type CniResult =
	| { readonly ok: true; readonly ips: readonly string[] }
	| { readonly ok: false; readonly error: CniError };

/** "Try again later" (CNI spec, well-known error codes). */
const tryAgain = 11;

const call = async (lab: string, nodeNetns: string, sandbox: Sandbox, command: 'ADD' | 'DEL'): Promise<CniResult> => {
	const { cniDir, cniPlugin, runDir } = paths(lab);
	const outcome = await run(...inNetns(nodeNetns, [cniPlugin]), {
		input: JSON.stringify({ cniVersion: '1.0.0', name: 'manx', type: 'manx', runDir: runDir(sandbox.node) }),
		env: {
			PATH: process.env.PATH,
			CNI_COMMAND: command,
			CNI_CONTAINERID: sandbox.containerID,
			CNI_NETNS: join('/var/run/netns', sandbox.netns),
			CNI_IFNAME: 'eth0',
			CNI_PATH: cniDir,
			CNI_ARGS: [
				'IgnoreUnknown=1',
				`K8S_POD_NAMESPACE=${sandbox.namespace}`,
				`K8S_POD_NAME=${sandbox.name}`,
				`K8S_POD_INFRA_CONTAINER_ID=${sandbox.containerID}`,
				`K8S_POD_UID=${sandbox.uid}`,
			].join(';'),
		},
		timeout: 60_000,
	});
	let answer: unknown;
	try {
		answer = JSON.parse(outcome.stdout);
	} catch {}
	if (outcome.ok) {
		const ips = (isBody(answer) ? listAt(answer, 'ips') : [])
			.filter(isBody)
			.map((ip) => textAt(ip, 'address'))
			.filter((text) => parseCidr(text) !== undefined)
			.map((text) => text.replace(/\/\d+$/, ''));
		return { ok: true, ips };
	}
	if (isBody(answer) && typeof answer.code === 'number') {
		const message = [textAt(answer, 'msg'), textAt(answer, 'details')].filter((text) => text !== '').join(': ');
		return { ok: false, error: { code: answer.code, message } };
	}
	const said = `${outcome.stdout}${outcome.stderr}`.trim() || `exit status ${outcome.status}`;
	return { ok: false, error: { code: -1, message: said } };
};

/** ADD, asked again for `patience` milliseconds while the plugin says "try again later", as the kubelet does. */
export const cniAdd = async (
	lab: string,
	nodeNetns: string,
	sandbox: Sandbox,
	patience: number,
): Promise<CniResult> => {
	const deadline = performance.now() + patience;
	for (;;) {
		const result = await call(lab, nodeNetns, sandbox, 'ADD');
		if (result.ok || result.error.code !== tryAgain || performance.now() >= deadline) return result;
		await sleep(100);
	}
};

/** DEL; undefined when done. */
export const cniDel = async (lab: string, nodeNetns: string, sandbox: Sandbox): Promise<CniError | undefined> => {
	const deadline = performance.now() + 10_000;
	for (;;) {
		const result = await call(lab, nodeNetns, sandbox, 'DEL');
		if (result.ok) return undefined;
		if (result.error.code !== tryAgain || performance.now() >= deadline) return result.error;
		await sleep(100);
	}
};

/** Fields of a Pod's status that tell its addresses, as the kubelet writes them. */
export const podStatus = (phase: string, ips: readonly string[]): Record<string, unknown> => ({
	phase,
	...(ips.length === 0 ? {} : { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) }),
});

export const nodeNameOf = (body: Readonly<Record<string, unknown>>): string => textAt(bodyAt(body, 'spec'), 'nodeName');
