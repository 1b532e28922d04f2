import type { Api } from './api.ts';
import { openWebSocket } from './websocket.ts';

/** `kubectl exec`, `logs` and `port-forward`, through API server and kubelet. A pod is `NAMESPACE/NAME[/CONTAINER]`. */

const split = (pod: string): { namespace: string; name: string; query: string } => {
	const [namespace = '', name = '', container] = pod.split('/');
	return { namespace, name, query: container === undefined ? '' : `&container=${container}` };
};

export type ExecResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

type ExecStatus = {
	readonly status: string;
	readonly message?: string;
	readonly details?: { readonly causes?: readonly { readonly reason: string; readonly message: string }[] };
};

/** Channels of v4.channel.k8s.io: 1 is stdout, 2 stderr, 3 the end as a Status object. */
export const execInPod = async (api: Api, pod: string, argv: readonly string[]): Promise<ExecResult> => {
	const { namespace, name, query } = split(pod);
	const command = argv.map((word) => `&command=${encodeURIComponent(word)}`).join('');
	const output = ['', '', '', ''];
	const link = await openWebSocket(
		api,
		`/api/v1/namespaces/${namespace}/pods/${name}/exec?stdout=true&stderr=true${query}${command}`,
		'v4.channel.k8s.io',
		(message) => {
			const channel = message[0] ?? 0;
			output[channel] = (output[channel] ?? '') + message.subarray(1).toString();
		},
	);
	await link.closed;
	const [, stdout = '', stderr = '', end = ''] = output;
	if (end === '') return { code: 255, stdout, stderr: `${stderr}the connection ended without a status` };
	const status = JSON.parse(end) as ExecStatus;
	if (status.status === 'Success') return { code: 0, stdout, stderr };
	const code = status.details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message;
	return { code: Number(code ?? 255), stdout, stderr: `${stderr}${status.message ?? ''}` };
};

export const podLog = async (api: Api, pod: string, more = ''): Promise<string> => {
	const { namespace, name, query } = split(pod);
	const { status, text } = await api.request('GET', `/api/v1/namespaces/${namespace}/pods/${name}/log?${query}${more}`);
	if (status !== 200) throw new Error(`log of ${pod}: ${status} ${text}`);
	return text;
};

/** Sends `request` to a port of the pod by port-forward and returns what comes back until the pod closes. */
export const portForward = async (api: Api, pod: string, port: number, request: string): Promise<string> => {
	const { namespace, name } = split(pod);
	const first = [true, true];
	let received = '';
	let error = '';
	const link = await openWebSocket(
		api,
		`/api/v1/namespaces/${namespace}/pods/${name}/portforward?ports=${port}`,
		'v4.channel.k8s.io',
		(message) => {
			const channel = message[0] ?? 0;
			// The first message of either channel is the port it stands for.
			if (first[channel] === true) {
				first[channel] = false;
				return;
			}
			if (channel === 0) received += message.subarray(1).toString();
			else error += message.subarray(1).toString();
		},
	);
	link.send(Buffer.concat([Buffer.from([0]), Buffer.from(request)]));
	await link.closed;
	if (error !== '') throw new Error(`port-forward to ${pod}: ${error}`);
	return received;
};
