import type { IpsetSpec, Ruleset } from 'iptables-wrapper';
import type { Route } from '../../src/kernel/kernel.ts';
import { type Family, familyOf } from '../../src/net/ip.ts';
import type { Attachment } from '../attachment.ts';
import { createMemberSet } from '../calc/member-set.ts';
import type { PolicyState } from '../calc/types.ts';
import { type RenderSettings, renderRuleset } from '../render/render-ruleset.ts';
import { netSets, sourceMembers, sourceSet } from '../render/static-sets.ts';

/** Everything wanted in the kernel but the routes and neighbours of single pods. Pure. */

export type Desired = {
	readonly policies: Readonly<Record<Family, PolicyState>>;
	readonly sets: ReadonlyMap<string, IpsetSpec>;
	readonly rulesets: Readonly<Record<Family, Ruleset>>;
	readonly routes: readonly Route[];
	/** Of the owner `fallback`. */
	readonly fallback: readonly Route[];
	/** Whether rules and sets here know the pod behind this interface. */
	readonly covers: (hostInterface: string) => boolean;
};

export type DesiredInput = {
	readonly policy: (family: Family) => PolicyState;
	readonly settings: RenderSettings;
	readonly podNetworks: readonly string[];
	readonly localPodCIDRs: readonly string[];
	readonly nonMasqueradeCIDRs: readonly string[];
	readonly routes: readonly Route[];
	/** None unless given. */
	readonly fallback?: readonly Route[];
	/** Announced ranges of addresses of Services; none unless given. */
	readonly serviceRanges?: readonly string[];
};

/** Keeps what it made last, so that what did not change is the same object and costs nothing further on. */
export const createDesired = (): ((input: DesiredInput, attachments: Iterable<Attachment>) => Desired) => {
	const rendered = new Map<
		Family,
		{ policy: PolicyState; settings: RenderSettings; services: boolean; ruleset: Ruleset }
	>();
	const known = new Map<string, IpsetSpec>();
	const sources = { 4: createMemberSet(sourceSet(4)), 6: createMemberSet(sourceSet(6)) };
	let wired = new Map<string, Attachment>();

	/** Rules name groups and sets but no members: they hang on the structure of the policy state only. */
	const rulesetOf = (family: Family, policy: PolicyState, settings: RenderSettings, services: boolean): Ruleset => {
		const last = rendered.get(family);
		const same = last?.policy.groups === policy.groups && last.settings === settings && last.services === services;
		if (same) return last.ruleset;
		const ruleset = renderRuleset({ family, policy, settings, services });
		rendered.set(family, { policy, settings, services, ruleset });
		return ruleset;
	};

	const same = (a: IpsetSpec | undefined, b: IpsetSpec): boolean =>
		a !== undefined && a.members.size === b.members.size && [...b.members].every((member) => a.members.has(member));

	/** Pods that came and went, rather than all of them, go on to the sets. */
	const takeAttachments = (attachments: Iterable<Attachment>): ReadonlyMap<string, Attachment> => {
		const now = new Map<string, Attachment>();
		const came: Attachment[] = [];
		for (const attachment of attachments) {
			now.set(attachment.hostInterface, attachment);
			if (wired.get(attachment.hostInterface) !== attachment) came.push(attachment);
		}
		if (came.length === 0 && now.size === wired.size) return wired;
		for (const family of [4, 6] as const) {
			const source = sources[family];
			for (const [name, attachment] of wired) {
				if (now.get(name) === attachment) continue;
				for (const member of sourceMembers(family, attachment)) source.remove(member);
			}
			for (const attachment of came) for (const member of sourceMembers(family, attachment)) source.add(member);
		}
		wired = now;
		return now;
	};

	return (input, attachments) => {
		const names = takeAttachments(attachments);
		const sets = new Map<string, IpsetSpec>();
		const policies = { 4: input.policy(4), 6: input.policy(6) };
		const addFamily = (family: Family): Ruleset => {
			const policy = policies[family];
			for (const [name, spec] of policy.sets) sets.set(name, spec);
			const ofFamily = (cidrs: readonly string[]) => cidrs.filter((cidr) => familyOf(cidr) === family);
			const source = sources[family].publish();
			sets.set(source.name, source);
			const serviceRanges = ofFamily(input.serviceRanges ?? []);
			const fixed = netSets({
				family,
				podNetworks: ofFamily(input.podNetworks),
				localPodCIDRs: ofFamily(input.localPodCIDRs),
				nonMasqueradeCIDRs: ofFamily(input.nonMasqueradeCIDRs),
				serviceRanges,
			});
			for (const spec of fixed) {
				const { name } = spec;
				const last = known.get(name);
				const kept = same(last, spec) ? (last as IpsetSpec) : spec;
				known.set(name, kept);
				sets.set(name, kept);
			}
			return rulesetOf(family, policy, input.settings, serviceRanges.length > 0);
		};
		const rulesets = { 4: addFamily(4), 6: addFamily(6) };
		const { routes, fallback = [] } = input;
		return { policies, sets, rulesets, routes, fallback, covers: (name) => names.has(name) };
	};
};
