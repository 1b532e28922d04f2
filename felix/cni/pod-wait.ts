import type { CniDeps } from './deps.ts';
import { type CniError, cniCodes, cniError } from './errors.ts';
import type { PodEnvironment } from './netconf.ts';
import { attachmentKey } from './records.ts';

/** ADDs that wait for their Pod object; a DEL of the same container ends the wait. */
export type PodWait = {
	/** Undefined once the pod is there and can be wired. */
	readonly wait: (env: PodEnvironment) => Promise<CniError | undefined>;
	readonly end: (key: string) => void;
};

const podWaitMs = 10_000;

export const createPodWait = (deps: Pick<CniDeps, 'waitForPod' | 'inSync'>): PodWait => {
	const waits = new Map<string, () => void>();
	return {
		end: (key) => waits.get(key)?.(),
		wait: async (env) => {
			const key = attachmentKey(env);
			const name = `${env.podNamespace}/${env.podName}`;
			const ended = new Promise<'ended'>((resolve) => waits.set(key, () => resolve('ended')));
			const pod = await Promise.race([
				deps.waitForPod(env.podNamespace, env.podName, env.podUID, podWaitMs),
				ended,
			]).finally(() => waits.delete(key));
			if (pod === 'ended')
				return cniError(cniCodes.tryLater, 'the pod was deleted', `a DEL came while ${name} was waited for`);
			if (!deps.inSync()) {
				const details = 'felix has not read all objects from the datastore yet, try again later';
				return cniError(cniCodes.tryLater, 'felix is not in sync', details);
			}
			if (pod === undefined) {
				const uid = env.podUID === '' ? '' : ` (uid ${env.podUID})`;
				const details = `no pod ${name}${uid} on this node within ${podWaitMs / 1000} s, try again later`;
				return cniError(cniCodes.tryLater, 'pod not known', details);
			}
			if (!pod.spec.hostNetwork) return undefined;
			const details = `${name} uses the node's network: nothing to wire`;
			return cniError(cniCodes.invalidConfig, 'pod has hostNetwork', details);
		},
	};
};
