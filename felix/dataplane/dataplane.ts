import type { ApplyResult, Chains, IpsetSpec, Ipsets } from 'iptables-wrapper';
import type { Applied, Kernel, Link, Neighbour, Reconciler, Route } from '../../src/kernel/kernel.ts';
import { owners } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Family } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import { hostStateOf } from '../cni/wiring.ts';
import type { Desired } from './desired.ts';

/**
 * The loop that brings the kernel in line with what is wanted. One pass at a time, in the order that never opens a
 * hole: set members are added, then rules change, then set members go, and only then a new pod gets its routes. What
 * is wanted is asked for at the beginning of a pass, so changes made meanwhile are in the next one.
 *
 * Nothing is written before `begin`, and what the kernel holds of an earlier run is deleted only from then on (mark and
 * sweep). A part that fails is tried again after a second; the other parts go on.
 */

export type DataplaneDeps = {
	readonly kernel: Kernel;
	readonly chains: Readonly<Record<Family, Chains>>;
	readonly ipsets: Ipsets;
	/** Everything wanted but the state of single pods. */
	readonly desired: (attachments: readonly Attachment[]) => Desired;
	/** These policies are in the kernel, sets and rules. */
	readonly policiesInForce: (policies: Desired['policies']) => void;
	/** The same object as long as they are the same. */
	readonly nodeAddresses: () => { readonly 4?: string; readonly 6?: string };
	/** Brings the node's kernel settings in order; those that were not, in words. */
	readonly settings: () => readonly string[];
	readonly log: Logger;
	/** Seconds between comparisons of rules and sets with the kernel, which tells nobody of changes to them. */
	readonly rulesCheckSeconds: number;
	readonly resyncSeconds: number;
};

export type Dataplane = {
	/** The datastore is in sync: write from now on. */
	readonly begin: () => void;
	/** Something wanted changed. */
	readonly wake: () => void;
	/** Pods found at start: they keep their routes while their rules are brought up to date. */
	readonly adopt: (attachments: Iterable<Attachment>) => void;
	/** Resolves when the pod's routes and policies are in the kernel, or with the reason why they cannot be. */
	readonly attach: (attachment: Attachment) => Promise<string | undefined>;
	/** Resolves when nothing of the pod is in the kernel any more: routes first, then set members. */
	readonly detach: (hostInterface: string) => Promise<void>;
	readonly attachments: () => ReadonlyMap<string, Attachment>;
	/** Compares everything with the kernel; what differs, in words. Empty: all is as wanted. */
	readonly verify: () => Promise<readonly string[]>;
	/** Counts the passes that had everything succeed: a change is in the kernel once a pass begun after it succeeded. */
	readonly passes: () => { readonly begun: number; readonly succeeded: number };
	readonly status: () => { readonly routes: { wanted: number; programmed: number }; readonly lastError: string };
	readonly close: () => Promise<void>;
};

type HostState = {
	readonly attachment: Attachment;
	readonly nodeAddresses: { readonly 4?: string; readonly 6?: string };
	readonly routes: readonly Route[];
	readonly neighbours: readonly Neighbour[];
};

type Waiter = { readonly attachment: Attachment; readonly resolve: (refusal: string | undefined) => void };

const retryDelay = 1000;

export const createDataplane = (deps: DataplaneDeps): Dataplane => {
	const { kernel, chains, ipsets, log } = deps;
	const routes: Reconciler<Route> = kernel.routes(owners.felix);
	const fallback: Reconciler<Route> = kernel.routes(owners.fallback);
	const neighbours: Reconciler<Neighbour> = kernel.neighbours('manx');
	const attachments = new Map<string, Attachment>();
	/** Routes and neighbours of the attachments whose rules are in force: only these have any. */
	const admitted = new Map<string, HostState>();
	const clusterRoutes = new Map<string, Route>();
	let waiters: Waiter[] = [];
	let detachers: (() => void)[] = [];
	let open = false;
	let closed = false;
	let dirty = false;
	let running: Promise<void> | undefined;
	let lastError = '';
	let begun = 0;
	let succeeded = 0;
	const timers = new Set<NodeJS.Timeout>();
	const unwatch: (() => void)[] = [];

	const later = (milliseconds: number, action: () => void): void => {
		const timer = setTimeout(() => {
			timers.delete(timer);
			action();
		}, milliseconds);
		timer.unref();
		timers.add(timer);
	};

	const fail = (what: string, message: string): void => {
		const text = `${what}: ${message}`;
		if (text !== lastError) log.error({}, text);
		lastError = text;
	};

	const admit = (attachment: Attachment): void => {
		const nodeAddresses = deps.nodeAddresses();
		const old = admitted.get(attachment.hostInterface);
		if (old?.attachment === attachment && old.nodeAddresses === nodeAddresses) return;
		const state = { attachment, nodeAddresses, ...hostStateOf(attachment, Object.values(nodeAddresses)) };
		admitted.set(attachment.hostInterface, state);
		for (const route of old?.routes ?? []) release(route);
		for (const route of state.routes) routes.set(route);
		for (const neighbour of state.neighbours) neighbours.set(neighbour);
	};

	/** Takes a route back unless another pod has it by now. */
	const release = (route: Route): void => {
		for (const state of admitted.values()) if (state.routes.some((other) => other.dst === route.dst)) return;
		routes.delete(routes.keyOf(route));
	};

	const dismiss = (hostInterface: string): void => {
		const state = admitted.get(hostInterface);
		admitted.delete(hostInterface);
		attachments.delete(hostInterface);
		for (const route of state?.routes ?? []) release(route);
		for (const route of state?.routes ?? []) fallback.delete(fallback.keyOf(route));
		for (const neighbour of state?.neighbours ?? []) neighbours.delete(neighbours.keyOf(neighbour));
	};

	const wantClusterRoutes = (wanted: readonly Route[]): void => {
		const keys = new Set(wanted.map(routes.keyOf));
		for (const key of clusterRoutes.keys()) {
			if (keys.has(key)) continue;
			routes.delete(key);
			clusterRoutes.delete(key);
		}
		for (const route of wanted) {
			clusterRoutes.set(routes.keyOf(route), route);
			routes.set(route);
		}
	};

	/** A change of mode moves routes from one metric to the other: what is added comes first, what goes comes last. */
	const applyRoutes = async (wantedFallback: readonly Route[]): Promise<Applied> => {
		// A route to a pod of ours only once its rules are in force, as that with our own metric.
		fallback.replace(
			wantedFallback.filter(({ nextHops: [hop] }) => hop?.via !== undefined || admitted.has(hop?.dev ?? '')),
		);
		fallback.sweep(false);
		const added = await fallback.apply();
		routes.sweep(true);
		const applied = await routes.apply();
		fallback.sweep(true);
		const deleted = fallback.pending() > 0 ? await fallback.apply() : added;
		return { ...applied, failed: new Map([...added.failed, ...deleted.failed, ...applied.failed]) };
	};

	const firstFailure = (applied: Applied): string | undefined => applied.failed.values().next().value?.message;

	/** Sets and rules; undefined when they are as wanted, but for sets nobody uses any more. */
	const applyPolicy = async (wanted: Desired): Promise<string | undefined> => {
		ipsets.want(wanted.sets as ReadonlyMap<string, IpsetSpec>);
		const steps: (() => Promise<readonly ApplyResult[]>)[] = [
			async () => [await ipsets.applyAdditions()],
			// Two programs side by side: most of their time is waiting for the kernel.
			() => Promise.all([chains[4].apply(wanted.rulesets[4]), chains[6].apply(wanted.rulesets[6])]),
			async () => [await ipsets.removeMembers()],
		];
		for (const step of steps) {
			const error = (await step()).map((result) => result.error).find((one) => one !== undefined);
			if (error !== undefined) return error.message;
		}
		return undefined;
	};

	const pass = async (): Promise<void> => {
		const mine = waiters;
		const gone = detachers;
		waiters = [];
		detachers = [];
		begun++;
		const number = begun;
		if (gone.length > 0) await Promise.all([routes.apply(), fallback.apply(), neighbours.apply()]);
		const wanted = deps.desired([...attachments.values()]);
		const policyError = await applyPolicy(wanted);
		if (policyError !== undefined) fail('Rules and sets are not as wanted', policyError);
		if (policyError === undefined) {
			deps.policiesInForce(wanted.policies);
			for (const attachment of attachments.values()) {
				// One that came while the rules were written waits for the next pass.
				if (wanted.covers(attachment.hostInterface)) admit(attachment);
			}
		}
		wantClusterRoutes(wanted.routes);
		neighbours.sweep(true);
		const [appliedRoutes, appliedNeighbours] = await Promise.all([applyRoutes(wanted.fallback), neighbours.apply()]);
		const routeError = firstFailure(appliedRoutes) ?? firstFailure(appliedNeighbours);
		if (routeError !== undefined) fail('Routes are not as wanted', routeError);
		for (const { attachment, resolve } of mine) {
			const state = admitted.get(attachment.hostInterface);
			resolve(
				policyError ??
					state?.routes.map((route) => appliedRoutes.failed.get(routes.keyOf(route))?.message).find(Boolean) ??
					state?.neighbours.map((one) => appliedNeighbours.failed.get(neighbours.keyOf(one))?.message).find(Boolean),
			);
		}
		for (const done of gone) done();
		const leftOver = policyError === undefined ? (await ipsets.applyRemovals()).error?.message : undefined;
		if (leftOver !== undefined) fail('Sets nobody uses stay behind', leftOver);
		if (policyError === undefined && routeError === undefined && leftOver === undefined) {
			succeeded = number;
			lastError = '';
		} else {
			later(retryDelay, wake);
		}
	};

	const wake = (): void => {
		dirty = true;
		if (!open || closed) return;
		running ??= (async () => {
			while (dirty && !closed) {
				dirty = false;
				try {
					await pass();
				} catch (error) {
					fail('A pass over the kernel failed', (error as Error).stack ?? String(error));
					later(retryDelay, wake);
				}
			}
		})().finally(() => {
			running = undefined;
			if (dirty && !closed) wake();
		});
	};

	/** What was found different from what we wrote: said, and mended by a pass. */
	const report = (missing: readonly string[]): void => {
		if (missing.length === 0) return;
		const shown = missing.slice(0, 10).join(', ');
		const rest = missing.length > 10 ? ` and ${missing.length - 10} more` : '';
		log.warn(
			{ missing: missing.slice(0, 100) },
			`somebody changed what is ours in the kernel: ${shown}${rest}; putting it back`,
		);
		wake();
	};

	const checkRules = async (): Promise<readonly string[]> => {
		const found: string[] = [...deps.settings()];
		for (const resync of [() => ipsets.resync(), () => chains[4].resync(), () => chains[6].resync()]) {
			const { drifted, error } = await resync();
			found.push(...drifted);
			if (error !== undefined) fail('Rules and sets cannot be read', error.message);
		}
		return found;
	};

	/** Runs an action between passes, never beside one. */
	const exclusively = async <T>(action: () => Promise<T>): Promise<T> => {
		while (running !== undefined) await running;
		const result = action();
		running = result.then(
			() => {},
			() => {},
		);
		running = running.finally(() => {
			running = undefined;
			if (dirty && open && !closed) wake();
		});
		return result;
	};

	const repeatedly = (seconds: number, action: () => Promise<void>): void => {
		const next = (): void =>
			later(seconds * 1000, () => {
				action()
					.catch((error: Error) => fail('Comparing with the kernel failed', error.message))
					.finally(() => {
						if (!closed) next();
					});
			});
		next();
	};

	const compareTables = async (): Promise<readonly string[]> => [
		...[...(await routes.resync()), ...(await fallback.resync())].map((key) => `route ${key}`),
		...(await neighbours.resync()).map((key) => `neighbour ${key}`),
	];

	const onLink = (link: Link, removed: boolean): void => {
		const attachment = attachments.get(link.name);
		if (attachment === undefined) return;
		if (removed) {
			log.info(
				{ interface: link.name },
				`the veth of ${attachment.podNamespace}/${attachment.podName} is gone with its netns`,
			);
		} else if (!link.up && admitted.has(link.name)) {
			// A veth is made down, and told of late: only one that still is counts.
			later(20, () => void setUp(link.name));
		}
	};

	const setUp = async (name: string): Promise<void> => {
		const now = (await kernel.listLinks()).find((link) => link.name === name);
		if (now === undefined || now.up || !admitted.has(name)) return;
		log.warn({ interface: name }, `interface ${name} was set down; setting it up`);
		const error = await kernel.setLink(name, { up: true });
		if (error !== undefined) fail(`Interface ${name} stays down`, error.message);
		wake();
	};

	const noteDrift = (): void => {
		const pending = routes.pending() + fallback.pending() + neighbours.pending();
		if (!open || running !== undefined || pending === 0) return;
		const actual = { routes: routes.actual(), fallback: fallback.actual(), neighbours: neighbours.actual() };
		const missing = [
			...[...routes.wanted().keys()].filter((key) => !actual.routes.has(key)).map((key) => `route ${key}`),
			...[...fallback.wanted().keys()].filter((key) => !actual.fallback.has(key)).map((key) => `route ${key}`),
			...[...neighbours.wanted().keys()].filter((key) => !actual.neighbours.has(key)).map((key) => `neighbour ${key}`),
		];
		if (missing.length > 0) report(missing);
		else wake();
	};

	return {
		begin: () => {
			if (open) return;
			open = true;
			let noted = false;
			unwatch.push(
				kernel.watch((event) => {
					if (event.type === 'link') onLink(event.link, event.removed);
					if (event.type === 'lost') log.warn({}, 'notifications of the kernel were lost; everything is read again');
					if (noted) return;
					noted = true;
					// A burst of notifications is looked at once, and after our own writes were acknowledged.
					later(20, () => {
						noted = false;
						noteDrift();
					});
				}),
			);
			repeatedly(deps.rulesCheckSeconds, async () => report(await exclusively(checkRules)));
			repeatedly(deps.resyncSeconds, async () => report(await exclusively(compareTables)));
			wake();
		},
		wake,
		adopt: (found) => {
			for (const attachment of found) {
				attachments.set(attachment.hostInterface, attachment);
				admit(attachment);
			}
		},
		attach: (attachment) =>
			new Promise((resolve) => {
				attachments.set(attachment.hostInterface, attachment);
				waiters.push({ attachment, resolve });
				wake();
			}),
		detach: (hostInterface) =>
			new Promise((resolve) => {
				dismiss(hostInterface);
				// Before the first pass there is no hurry: it will leave these out.
				if (open) detachers.push(resolve);
				else resolve();
				wake();
			}),
		attachments: () => attachments,
		verify: async () => {
			if (!open) return ['nothing was written yet: the datastore is not in sync'];
			const found = await exclusively(async () => [...(await checkRules()), ...(await compareTables())]);
			report(found);
			if (dirty || running !== undefined || routes.pending() + fallback.pending() + neighbours.pending() > 0)
				found.push('changes are on their way');
			if (lastError !== '') found.push(lastError);
			return found;
		},
		passes: () => ({ begun, succeeded }),
		status: () => {
			const figures = { wanted: 0, programmed: 0 };
			for (const { wanted, actual } of [routes, fallback]) {
				figures.wanted += wanted().size;
				for (const key of wanted().keys()) if (actual().has(key)) figures.programmed++;
			}
			return { routes: figures, lastError };
		},
		close: async () => {
			closed = true;
			for (const timer of timers) clearTimeout(timer);
			for (const stop of unwatch) stop();
			await running;
		},
	};
};
