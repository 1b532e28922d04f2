import { createFelix } from '../../felix/felix.ts';
import { openKernel } from '../kernel/open-kernel.ts';
import { createRun } from '../kernel/run.ts';
import { openSetMembers } from '../kernel/set-members.ts';
import { openSysctls } from '../kernel/sysctl.ts';
import { runDaemon } from './daemon.ts';
import { createNodeCondition } from './node-condition.ts';
import { felixRoutes } from './felix-routes.ts';
import { nodeSysctls } from './node-sysctls.ts';

/** `manx felix`: felix with the real kernel, programs and sysctls of this node. */
export const runFelix = (configFile: string | undefined): Promise<void> =>
	runDaemon('felix', configFile, ({ settings, log, client }) => {
		const { nodeName } = settings;
		const condition = client === undefined ? undefined : createNodeCondition({ client, nodeName, log });
		const kernel = openKernel({ log: log.child({ part: 'kernel' }) });
		const setMembers = openSetMembers();
		const felix = createFelix({
			settings,
			kernel,
			log,
			run: createRun(),
			writeMembers: setMembers.write,
			sysctls: nodeSysctls(),
			wiring: {
				openKernelIn: (netns) => openKernel({ log, netns, watch: false }),
				sysctlsIn: (netns) => openSysctls(netns === undefined ? {} : { netns }),
			},
		});
		return {
			start: async () => {
				await felix.start();
				condition?.serving();
			},
			onEvent: (event) => {
				felix.onChanges(event.changes, event.inSync);
				condition?.onEvent(event);
			},
			unsettled: felix.unsettled,
			routes: felixRoutes(felix),
			status: felix.status,
			stop: async () => {
				condition?.close();
				await felix.close();
				kernel.close();
				setMembers.close();
			},
		};
	});
