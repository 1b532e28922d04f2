import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { commandLineOf, processesIn, recordOf } from '../../src/lab/processes.ts';
import { sleep } from '../../src/lab/shell.ts';
import { parentOf } from './down.ts';
import { podLog } from './exec.ts';
import { bringUp, type Harness, idleDeployment } from './harness.ts';
import { differences, nodeSnapshot, settledSnapshot } from './node-snapshot.ts';
import { paths } from './state.ts';

/**
 * A full node whose pods are deleted and made over and over: nothing leaks, and memory stays flat.
 * TEST_CHURN_SECONDS: how long (180), not less than 130.
 */

const seconds = Number(process.env.TEST_CHURN_SECONDS ?? 180);
const pods = 200;
const batch = 50;
const node = 'n1';
const manx = 'app.kubernetes.io/name=manx';
const folders = [
	'/run/manx/attachments',
	'/run/manx/pending-dels',
	'/run/netns',
	'/var/lib/cni',
	'/etc/cni',
	'/opt/cni',
];

/** Pods of the deployment may be reached by each other only: every pod is a member of sets, and in a group. */
const policy = {
	apiVersion: 'networking.k8s.io/v1',
	kind: 'NetworkPolicy',
	metadata: { name: 'idle', namespace: 'default' },
	spec: {
		podSelector: { matchLabels: { app: 'idle' } },
		ingress: [{ from: [{ podSelector: { matchLabels: { app: 'idle' } } }], ports: [{ port: 80 }] }],
	},
};

type Memory = { readonly what: string; readonly megabytes: number };

const megabytesOf = (pid: number): number => {
	try {
		return Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
	} catch {
		return 0;
	}
};

describe(`${pods} pods on one node, deleted and made for ${seconds} s`, { timeout: (seconds + 1800) * 1000 }, () => {
	let cluster: Harness;
	before(async () => {
		assert.ok(seconds >= 130, 'TEST_CHURN_SECONDS must be at least 130: memory is compared with that of minute two');
		const quick = ['--kube-api-qps=50', '--kube-api-burst=100', '--event-qps=0', '--registry-qps=0'];
		cluster = await bringUp('churn', { nodes: 1, kubeletArgs: ['--max-pods=250', ...quick] });
		await cluster.installManx();
		await cluster.untilNodesReady();
	});
	after(async () => cluster?.down());

	type Listed = {
		readonly items: readonly {
			readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
			readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
		}[];
	};
	const podsPath = '/api/v1/namespaces/default/pods';
	const list = async (): Promise<Listed['items']> => (await cluster.api.json<Listed>('GET', podsPath)).items;
	const until = async (what: string, most: number, ask: () => Promise<string | undefined>): Promise<void> => {
		// A list of 200 pods is half a megabyte: not ten times a second.
		for (const start = performance.now(); ; await sleep(1000)) {
			const reason = await ask();
			if (reason === undefined) return;
			assert.ok(performance.now() - start < most * 1000, `${what}: not within ${most} s: ${reason}`);
		}
	};
	const untilReady = (count: number, without: ReadonlySet<string> = new Set()): Promise<void> =>
		until(`${count} pods`, 600, async () => {
			const there = (await list()).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
			const ready = there.filter(({ status }) =>
				status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
			);
			const old = there.filter(({ metadata }) => without.has(metadata.name)).length;
			const done = there.length === count && ready.length === count && old === 0;
			return done ? undefined : `${ready.length} of ${there.length} ready, ${old} to go`;
		});
	const scaleTo = (replicas: number): Promise<unknown> => cluster.api.apply([idleDeployment(replicas)]);
	const snapshot = (): Promise<readonly string[]> => nodeSnapshot(cluster, node, folders);
	const untilAsBefore = (before: readonly string[]): Promise<void> =>
		until('the node is as before', 180, async () => {
			const left = (await list()).length;
			return left > 0 ? `${left} pods are left` : differences(before, await snapshot()).join('\n') || undefined;
		});
	/** felix, bird and what they keep running beside them. */
	const daemons = (): readonly { readonly pid: number; readonly what: string }[] => {
		const all = processesIn([paths(cluster.state.name).netns(node)]);
		const main = all.filter((pid) => /main\.js (felix|bird)$/.test(commandLineOf(pid)));
		const children = all.filter((pid) => main.includes(parentOf(pid) ?? 0));
		return [...main, ...children].map((pid) => ({ pid, what: commandLineOf(pid).replace(/.*main\.js /, '') }));
	};

	/** Addresses by the aliases of the node's veths; each may be there once. */
	const doubled = async (): Promise<readonly string[]> => {
		type Link = { readonly ifname: string; readonly ifalias?: string };
		const links = JSON.parse(await cluster.output(node, 'ip', '-j', 'link')) as readonly Link[];
		const addresses = links
			.filter(({ ifname }) => ifname.startsWith('manx'))
			.flatMap(({ ifalias = '' }) => ifalias.split(' ').slice(2));
		return addresses.filter((address, i) => addresses.indexOf(address) !== i);
	};

	let base: readonly string[] = [];
	it('a node that had pods is as it was before them', async () => {
		await cluster.api.apply([policy]);
		await scaleTo(3);
		await untilReady(3);
		await scaleTo(0);
		await until('no pods', 60, async () => ((await list()).length === 0 ? undefined : 'some'));
		await until('no veths', 60, async () => {
			const links = await cluster.output(node, 'ip', '-o', 'link');
			return /: manx/.test(links) ? links : undefined;
		});
		base = await settledSnapshot(cluster, node, folders);
		await scaleTo(1);
		await untilReady(1);
		assert.notDeepEqual(await snapshot(), base);
		await scaleTo(0);
		await untilAsBefore(base);
	});

	const atTwoMinutes = new Map<number, Memory>();
	it('no address is doubled meanwhile', async () => {
		const filling = performance.now();
		await scaleTo(pods);
		await untilReady(pods);
		console.log(`${pods} pods: ${((performance.now() - filling) / 1000).toFixed(0)} s`);
		const startedAt = performance.now();
		const elapsed = (): number => (performance.now() - startedAt) / 1000;
		let over = false;
		const watch = (async () => {
			for (let nextPrint = 0; !over; await sleep(500)) {
				assert.deepEqual(await doubled(), []);
				if (elapsed() >= 120 && atTwoMinutes.size === 0) {
					for (const { pid, what } of daemons()) atTwoMinutes.set(pid, { what, megabytes: megabytesOf(pid) });
				}
				if (elapsed() < nextPrint) continue;
				nextPrint += 60;
				const memory = daemons().map(({ pid, what }) => `${what.slice(0, 20)} ${megabytesOf(pid).toFixed(1)} MB`);
				console.log(`${elapsed().toFixed(0)} s: ${memory.join(', ')}`);
			}
		})();
		let rounds = 0;
		const churn = (async () => {
			for (; elapsed() < seconds; rounds++) {
				const names = (await list()).map(({ metadata }) => metadata.name);
				// Those that stand longest are not always the same: a stride through the list.
				const victims = names.filter((_, i) => (i + rounds) % (pods / batch) === 0);
				await Promise.all(victims.map((name) => cluster.api.request('DELETE', `${podsPath}/${name}`)));
				await untilReady(pods, new Set(victims));
			}
		})().finally(() => {
			over = true;
		});
		await Promise.all([churn, watch]);
		console.log(`${rounds} rounds in ${elapsed().toFixed(0)} s`);
	});

	it('by its own log felix never gave an address to two', async () => {
		const [pod] = await cluster.pods('kube-system', manx);
		assert.equal(pod?.restarts, 0);
		type Line = { msg: string; containerID?: string; addresses?: readonly string[]; ms?: number };
		const owners = new Map<string, string>();
		const times: number[] = [];
		for (const text of (await podLog(cluster.api, `kube-system/${pod?.name}/felix`)).split('\n')) {
			if (!text.startsWith('{')) continue;
			const { msg, containerID = '', addresses = [], ms = 0 } = JSON.parse(text) as Line;
			if (msg === 'CNI ADD') {
				times.push(ms);
				for (const address of addresses) {
					assert.equal(owners.get(address) ?? containerID, containerID, address);
					owners.set(address, containerID);
				}
			} else if (msg === 'CNI DEL' || msg.startsWith('the netns of a pod ended')) {
				for (const [address, owner] of owners) if (owner === containerID) owners.delete(address);
			}
		}
		assert.ok(times.length > pods, `${times.length} ADDs`);
		times.sort((a, b) => a - b);
		const [p50, p99] = [0.5, 0.99].map((part) => times[Math.floor(times.length * part)]);
		console.log(`${times.length} ADDs, by felix' clock ${p50} ms p50, ${p99} ms p99`);
	});

	it('memory is flat: at most that of minute two, 10 % and 10 MB', () => {
		assert.ok([...atTwoMinutes.values()].some(({ what }) => what === 'felix'));
		for (const [pid, { what, megabytes }] of atTwoMinutes) {
			if (recordOf(pid) === undefined) continue;
			const now = megabytesOf(pid);
			console.log(`${what}: ${megabytes.toFixed(1)} MB at 2 min, ${now.toFixed(1)} MB at the end`);
			assert.ok(now <= megabytes * 1.1 + 10, what);
		}
	});

	it('afterwards the node is as it was before, and well', async () => {
		await scaleTo(0);
		await untilAsBefore(base);
		const { code, text } = await cluster.manxStatus(node);
		assert.equal(code, 0, text);
		for (const { pid, what } of daemons()) console.log(`${what}: ${megabytesOf(pid).toFixed(1)} MB without pods`);
	});
});
