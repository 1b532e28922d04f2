import { owners } from '../../src/kernel/kernel.ts';
import type { CniDeps } from './deps.ts';
import { type CniError, cniCodes, cniError } from './errors.ts';
import type { Netconf, PodEnvironment } from './netconf.ts';
import { identifyNetns } from './netns-id.ts';
import { type AttachmentRecord, aliasOf } from './records.ts';
import { resultDiffers } from './result.ts';
import { hostInterfacePrefix, hostStateOf, inspectPod, missingNeighbours, sameRoute } from './wiring.ts';

/**
 * CHECK: reads the kernel on both sides of the veth and compares it, the record and the runtime's cached result.
 * Undefined when all is as it should be; else one error with everything that is not.
 */
export const checkAttachment = async (
	deps: CniDeps,
	record: AttachmentRecord | undefined,
	netconf: Netconf,
	env: PodEnvironment,
): Promise<CniError | undefined> => {
	const fail = (details: string): CniError =>
		cniError(cniCodes.checkFailed, 'the pod network is not as it should be', details);
	if (record === undefined) return fail(`felix knows no attachment ${env.ifname} of container ${env.containerID}`);
	const netnsId = identifyNetns(env.netns);
	if (typeof netnsId === 'object') return netnsId;
	const { attachment } = record;
	if (record.netnsId !== '' && record.netnsId !== netnsId) {
		return fail(`${env.netns} is another network namespace than the one wired (${attachment.netns})`);
	}
	const inspection = await inspectPod(deps, { ...attachment, netns: env.netns }, aliasOf(attachment));
	const problems = [...inspection.problems];
	const wanted = hostStateOf(attachment, []);
	const routes = await deps.kernel.listRoutes();
	for (const route of wanted.routes) {
		if (routes.some((one) => one.protocol === owners.felix.protocol && sameRoute(one, route))) continue;
		problems.push(`the route ${route.dst} dev ${attachment.hostInterface} is gone from the node`);
	}
	problems.push(...(await missingNeighbours(deps.kernel.neighbours(hostInterfacePrefix), wanted.neighbours)));
	const differs = netconf.prevResult && resultDiffers(netconf.prevResult, attachment);
	if (differs !== undefined) problems.push(differs);
	return problems.length === 0 ? undefined : fail(problems.join('; '));
};
