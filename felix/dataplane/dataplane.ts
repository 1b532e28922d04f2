import type { Chains, Ipsets } from 'iptables-wrapper';
import type { Kernel, Link } from '../../src/kernel/kernel.ts';
import type { Logger } from '../../src/logging.ts';
import type { Family } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import type { Desired } from './desired.ts';
import { createNodeTables } from './node-tables.ts';
import { createPolicyWriter, type Refusal } from './policy-writer.ts';
import { createSourceGuard } from './source-guard.ts';

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
	/** Everything wanted but the state of single pods; `guarded`: each veth has a filter of what its pod may send from. */
	readonly desired: (attachments: readonly Attachment[], guarded: boolean) => Desired;
	/** These policies are in the kernel, sets and rules. */
	readonly policiesInForce: (policies: Desired['policies']) => void;
	/** The same object as long as they are the same. */
	readonly nodeAddresses: () => { readonly 4?: string; readonly 6?: string };
	/** Brings the node's kernel settings in order; those that were not, in words. */
	readonly settings: () => readonly string[];
	readonly log: Logger;
	/** The same text while nobody has changed rules and sets, as far as that is cheap to tell. */
	readonly rulesPrint?: () => Promise<string | undefined>;
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
	readonly status: () => {
		readonly routes: { wanted: number; programmed: number };
		readonly lastError: string;
		/** What the kernel would not take of policies. */
		readonly refusals: readonly Refusal[];
	};
	readonly close: () => Promise<void>;
};

type Waiter = { readonly attachment: Attachment; readonly resolve: (refusal: string | undefined) => void };

const retryDelay = 1000;
/** Looks at rules and sets that may be content with their print; then all is read once more. */
const printsTaken = 10;

export const createDataplane = (deps: DataplaneDeps): Dataplane => {
	const { kernel, chains, ipsets, log } = deps;
	/** Routes and neighbours; pods have some once their rules are in force. */
	const tables = createNodeTables(kernel, deps.nodeAddresses);
	const guard = createSourceGuard(kernel, log);
	const attachments = new Map<string, Attachment>();
	const writer = createPolicyWriter({ chains, ipsets, now: () => performance.now(), log });
	/** What was refused is tried again in a while. */
	let retrying = false;
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

	const dismiss = (hostInterface: string): void => {
		attachments.delete(hostInterface);
		guard.release(hostInterface);
		tables.dismiss(hostInterface);
	};

	const pass = async (): Promise<void> => {
		const mine = waiters;
		const gone = detachers;
		waiters = [];
		detachers = [];
		begun++;
		const number = begun;
		if (gone.length > 0) await tables.applyDepartures();
		const covered = [...attachments.values()];
		// Before the rule that does the same goes.
		const wanted = deps.desired(covered, await guard.apply());
		const policyError = await writer.write(wanted);
		if (policyError !== undefined) fail('Rules and sets are not as wanted', policyError);
		if (policyError === undefined) {
			deps.policiesInForce(wanted.policies);
			for (const attachment of attachments.values()) {
				// One that came while the rules were written waits for the next pass.
				if (wanted.covers(attachment.hostInterface)) tables.admit(attachment);
			}
		}
		tables.want(wanted.routes, wanted.fallback);
		const { error: routeError, refusalOf } = await tables.apply();
		if (routeError !== undefined) fail('Routes are not as wanted', routeError);
		for (const { attachment, resolve } of mine) resolve(policyError ?? refusalOf(attachment.hostInterface));
		for (const done of gone) done();
		const leftOver = policyError === undefined ? (await ipsets.applyRemovals()).error?.message : undefined;
		if (leftOver !== undefined) fail('Sets nobody uses stay behind', leftOver);
		if (policyError === undefined && routeError === undefined && leftOver === undefined) {
			succeeded = number;
			lastError = '';
			const again = writer.retryIn();
			if (again !== undefined && !retrying) {
				retrying = true;
				later(again, () => {
					retrying = false;
					wake();
				});
			}
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

	/** The print of rules and sets when all of them were as wanted, and how often it has been taken for the whole since. */
	let clean: { readonly print: string; times: number } | undefined;

	/**
	 * Beside passes, none of which waits for it: what one writes meanwhile is not judged. `whole`: not content with a print.
	 */
	const checkRules = async (whole: boolean): Promise<readonly string[]> => {
		const found: string[] = [...deps.settings()];
		const print = await deps.rulesPrint?.();
		if (!whole && clean !== undefined && clean.print === print && clean.times++ < printsTaken) return found;
		clean = undefined;
		let readable = true;
		for (const resync of [() => ipsets.resync(), () => chains[4].resync(), () => chains[6].resync()]) {
			const { drifted, error } = await resync();
			found.push(...drifted);
			if (error !== undefined) fail('Rules and sets cannot be read', error.message);
			if (error !== undefined || drifted.length > 0) readable = false;
		}
		// Taken before everything was read: what changed meanwhile shows.
		if (print !== undefined && readable) clean = { print, times: 0 };
		return found;
	};

	const compare = async (): Promise<readonly string[]> => [...(await tables.compare()), ...(await guard.compare())];

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

	const onLink = (link: Link, removed: boolean): void => {
		const attachment = attachments.get(link.name);
		if (attachment === undefined) return;
		if (removed) {
			log.info(
				{ interface: link.name },
				`the veth of ${attachment.podNamespace}/${attachment.podName} is gone with its netns`,
			);
		} else if (!link.up && tables.isAdmitted(link.name)) {
			// A veth is made down, and told of late: only one that still is counts.
			later(20, () => void setUp(link.name));
		}
	};

	const setUp = async (name: string): Promise<void> => {
		const now = (await kernel.listLinks()).find((link) => link.name === name);
		if (now === undefined || now.up || !tables.isAdmitted(name)) return;
		log.warn({ interface: name }, `interface ${name} was set down; setting it up`);
		const error = await kernel.setLink(name, { up: true });
		if (error !== undefined) fail(`Interface ${name} stays down`, error.message);
		wake();
	};

	const noteDrift = (): void => {
		if (!open || closed || tables.pending() + guard.pending() === 0) return;
		if (running !== undefined) {
			// A pass mends it by the way; a comparison of rules does not look at routes.
			void running.then(noteDrift, noteDrift);
			return;
		}
		const missing = [...tables.missing(), ...guard.missing()];
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
			repeatedly(deps.rulesCheckSeconds, async () => report(await checkRules(false)));
			repeatedly(deps.resyncSeconds, async () => report(await exclusively(compare)));
			wake();
		},
		wake,
		adopt: (found) => {
			for (const attachment of found) {
				attachments.set(attachment.hostInterface, attachment);
				guard.protect(attachment);
				tables.admit(attachment);
			}
		},
		attach: (attachment) =>
			new Promise((resolve) => {
				attachments.set(attachment.hostInterface, attachment);
				guard.protect(attachment);
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
			while (running !== undefined) await running;
			const before = begun;
			const found = [...(await checkRules(true)), ...(await exclusively(compare))];
			report(found);
			if (begun !== before || dirty || running !== undefined || tables.pending() + guard.pending() > 0) {
				found.push('changes are on their way');
			}
			if (lastError !== '') found.push(lastError);
			return found;
		},
		passes: () => ({ begun, succeeded }),
		status: () => ({ routes: tables.figures(), lastError: writer.waiting() ?? lastError, refusals: writer.refusals() }),
		close: async () => {
			closed = true;
			for (const timer of timers) clearTimeout(timer);
			for (const stop of unwatch) stop();
			await running;
		},
	};
};
