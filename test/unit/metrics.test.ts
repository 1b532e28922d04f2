import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createCounters } from '../../bird/counters.ts';
import { createMetrics, type Figures, figuresOf, type SessionFigures } from '../../src/daemon/metrics.ts';

/** The table in docs/reference/metrics.md and what the daemons expose are the same, both ways. */

const page = readFileSync(join(import.meta.dirname, '../../docs/reference/metrics.md'), 'utf8');

const tor = (): SessionFigures => {
	const counters = createCounters();
	for (const state of ['Connect', 'OpenSent', 'OpenConfirm', 'Established'] as const) counters.entered(state);
	counters.received(
		{ type: 'UPDATE', errors: [{ code: 3, subcode: 5, data: new Uint8Array(), message: '' }] } as never,
		2,
	);
	counters.sent(3);
	const data = new Uint8Array();
	counters.ended({ kind: 'received', notification: { code: 6, subcode: 2, data }, reason: '' });
	counters.ended({ kind: 'sent', notification: { code: 4, subcode: 0, data }, reason: '' });
	counters.ended({ kind: 'tcp', reason: 'reset' });
	return {
		name: 'peer/tor',
		state: 'Established',
		since: '2026-01-01T00:00:00.500Z',
		receivedByFamily: { 4: 5, 6: 7 },
		advertised: 2,
		gracefulRestart: { agreed: true, peerRestartTime: 120, helping: false },
		counters: counters.read(),
		bfd: { state: 'Up' },
	};
};
const figures = (): Figures => ({
	...figuresOf({
		sessions: [tor()],
		fib: { wanted: 12, programmed: 11, failed: [{}], withheld: [], unreachable: [] },
		rib: { 4: 6, 6: 8 },
		problems: [],
		pods: [{}],
		policies: 1,
		converged: true,
	}),
	routes: { wanted: 12, programmed: 11 },
	inSync: true,
	ready: true,
	refused: 0,
});

describe('metrics', () => {
	it('are those of the page, in name, type and labels', async () => {
		const exposed: string[] = [];
		for (const daemon of ['felix', 'bird'] as const) {
			const metrics = createMetrics(daemon, 'n1', '1.2.3', figures);
			metrics.toKernel(0.003);
			const text = await metrics.text();
			for (const [, name = '', type = ''] of text.matchAll(/^# TYPE (manx_\S+) (\S+)$/gm)) {
				const samples = [...text.matchAll(new RegExp(`^${name}(?:_bucket|_sum|_count)?\\{([^}]*)\\} (\\S+)$`, 'gm'))];
				assert.ok(samples.length > 0, `${name} has a value`);
				const labels = new Set(
					samples.flatMap(([, all = '']) => [...all.matchAll(/([a-z]+)="/g)].map(([, label]) => label)),
				);
				assert.ok(labels.delete('node'), `${name} names the node`);
				labels.delete('le');
				exposed.push(`${name} ${type} ${[...labels].sort().join(' ')}`);
			}
		}
		const documented = [...page.matchAll(/^\| `(manx_\S+)` +\| (\S+) +\| ([^|]*)\|/gm)].map(
			([, name, type, labels = '']) =>
				`${name} ${type} ${[...labels.matchAll(/`([a-z]+)`/g)]
					.map(([, label]) => label)
					.sort()
					.join(' ')}`,
		);
		assert.deepEqual(documented.sort(), exposed.sort());
	});

	it('of bird say what its sessions came to', async () => {
		const metrics = createMetrics('bird', 'n1', '1.2.3', figures);
		metrics.toKernel(0.003);
		const text = await metrics.text();
		for (const line of [
			'manx_bird_session_up{peer="peer/tor",node="n1"} 1',
			'manx_bird_sessions{state="Established",node="n1"} 1',
			'manx_bird_sessions{state="Idle",node="n1"} 0',
			'manx_bird_session_received_prefixes{peer="peer/tor",family="ipv6",node="n1"} 7',
			'manx_bird_session_changed_timestamp_seconds{peer="peer/tor",node="n1"} 1767225600.5',
			'manx_bird_session_state_changes_total{peer="peer/tor",state="Established",node="n1"} 1',
			'manx_bird_session_updates_sent_total{peer="peer/tor",node="n1"} 3',
			'manx_bird_session_update_errors_total{peer="peer/tor",node="n1"} 1',
			'manx_bird_session_routes_refused_total{peer="peer/tor",node="n1"} 2',
			'manx_bird_session_notifications_received_total{peer="peer/tor",code="6",subcode="2",node="n1"} 1',
			'manx_bird_session_notifications_sent_total{peer="peer/tor",code="4",subcode="0",node="n1"} 1',
			'manx_bird_routes_programmed{node="n1"} 11',
			'manx_bird_routes_failed{node="n1"} 1',
			'manx_bird_rib_prefixes{family="ipv4",node="n1"} 6',
			'manx_bird_change_to_kernel_seconds_bucket{le="0.005",node="n1"} 1',
			'manx_bird_change_to_kernel_seconds_count{node="n1"} 1',
		]) {
			assert.ok(text.includes(`${line}\n`), `${line} in\n${text}`);
		}
		const again = await metrics.text();
		assert.match(again, /updates_sent_total\{peer="peer\/tor",node="n1"\} 3\n/, 'asked twice, counted once');
	});
});
