import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { createHostSysctls } from '../../felix/dataplane/host-sysctls.ts';
import type { Logger } from '../../src/logging.ts';

it('a kernel setting that somebody changes back time and again is named, one changed once or twice is not', () => {
	const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => silent };
	const folder = mkdtempSync(join(tmpdir(), 'manx-sysctls-'));
	const values = new Map([
		['net/ipv4/ip_forward', '0'],
		['net/ipv6/conf/all/forwarding', '0'],
	]);
	const access = {
		read: (path: string) => values.get(path),
		write: (path: string, value: string) => void values.set(path, value),
		interfaces: () => [],
	};
	const sysctls = createHostSysctls(access, join(folder, 'sysctls.json'), silent);
	assert.equal(sysctls.bring().length, 2);
	assert.deepEqual(sysctls.bring(), []);
	for (let i = 0; i < 3; i++) {
		assert.deepEqual(sysctls.contested(), []);
		values.set('net/ipv4/ip_forward', '0');
		assert.equal(sysctls.bring().length, 1);
	}
	assert.deepEqual(sysctls.contested(), ['net/ipv4/ip_forward']);
	rmSync(folder, { recursive: true });
});
