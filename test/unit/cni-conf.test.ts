import assert from 'node:assert/strict';
import {
	chmodSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { installCni, removeInstalled } from '../../src/cli/install-cni.ts';
import { conflistName, createCniConf, pluginsFile } from '../../src/daemon/cni-conf.ts';
import type { Logger } from '../../src/logging.ts';

describe('what a container runtime is given', () => {
	let folder: string;
	let conf: string;
	let runDir: string;
	let warned: string[];
	const log: Logger = {
		debug: () => {},
		info: () => {},
		warn: (_, message) => warned.push(message),
		error: () => {},
		child: () => log,
	};
	beforeEach(() => {
		folder = mkdtempSync(join(tmpdir(), 'manx-cni-'));
		[conf, runDir] = [join(folder, 'net.d'), join(folder, 'run')];
		for (const one of [conf, runDir]) mkdirSync(one);
		warned = [];
	});
	afterEach(() => rmSync(folder, { recursive: true }));
	const list = (): { cniVersion: string; cniVersions: string[]; plugins: { type: string; runDir?: string }[] } =>
		JSON.parse(readFileSync(join(conf, conflistName), 'utf8'));

	it('is a list of version 1.0.0 with manx before the chained plugins, and nothing else in the folder', () => {
		createCniConf({ dir: conf, runDir, log }).write();
		assert.equal(list().cniVersion, '1.0.0');
		assert.deepEqual(list().plugins[0], { type: 'manx', runDir, capabilities: { bandwidth: true } });
		assert.deepEqual(readdirSync(conf), [conflistName]);
	});

	it('offers 1.1.0 only where all chained plugins are known to speak it', () => {
		createCniConf({ dir: conf, runDir, log }).write();
		assert.deepEqual(list().cniVersions, ['0.3.1', '0.4.0', '1.0.0']);
		writeFileSync(join(runDir, pluginsFile), JSON.stringify({ supportedVersions: ['0.3.1', '1.0.0', '1.1.0'] }));
		createCniConf({ dir: conf, runDir, log }).write();
		assert.deepEqual(list().cniVersions, ['0.3.1', '1.0.0', '1.1.0']);
	});

	it('offers no version a chained plugin cannot speak', () => {
		writeFileSync(join(runDir, pluginsFile), JSON.stringify({ supportedVersions: ['0.2.0', '0.4.0', '1.0.0'] }));
		createCniConf({ dir: conf, runDir, log }).write();
		assert.deepEqual(list().cniVersions, ['0.4.0', '1.0.0']);
	});

	it('comes back when it was removed or changed, and is not written when it is as it should be', () => {
		const made = createCniConf({ dir: conf, runDir, log });
		assert.equal(made.offered(), false);
		for (const spoil of [
			() => {},
			() => rmSync(join(conf, conflistName)),
			() => writeFileSync(join(conf, conflistName), '{}'),
		]) {
			spoil();
			made.write();
			assert.equal(list().cniVersion, '1.0.0');
			assert.equal(made.offered(), true);
		}
		chmodSync(join(conf, conflistName), 0o600);
		made.write();
		assert.equal(list().plugins.length, 3);
	});

	it('is told apart from another network, which is reported once', () => {
		const made = createCniConf({ dir: conf, runDir, log });
		for (const name of ['10-flannel.conflist', 'README', '87-podman.conflist']) writeFileSync(join(conf, name), '');
		made.write();
		made.write();
		assert.equal(warned.length, 1);
		assert.match(warned[0] ?? '', /^10-flannel\.conflist, 87-podman\.conflist of another network/);
		writeFileSync(join(conf, '00-multus.conf'), '');
		made.write();
		assert.match(made.problems().join(), /00-multus\.conf in .* comes before 05-manx\.conflist/);
		rmSync(join(conf, '00-multus.conf'));
		for (const name of ['10-flannel.conflist', '87-podman.conflist']) rmSync(join(conf, name));
		made.write();
		assert.deepEqual(made.problems(), []);
	});

	it('says so when the folder cannot be written', () => {
		const file = join(folder, 'file');
		writeFileSync(file, '');
		const made = createCniConf({ dir: file, runDir, log });
		made.write();
		assert.match(made.problems().join(), /cannot be written.*No pod gets a network/);
		assert.equal(made.offered(), false);
	});

	describe('executables', () => {
		const script = (name: string) =>
			`#!/bin/sh\n# ${name}\necho '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'\n`;
		const give = (where: string, name: string, text: string): void => {
			mkdirSync(where, { recursive: true });
			writeFileSync(join(where, name), text, { mode: 0o755 });
		};
		let from: string;
		let to: string;
		const install = (): void => {
			process.env.MANX_RUN_DIR = runDir;
			installCni({ from, to });
			delete process.env.MANX_RUN_DIR;
		};
		beforeEach(() => {
			[from, to] = [join(folder, 'from'), join(folder, 'bin')];
			for (const name of ['manx', 'loopback', 'portmap', 'bandwidth']) give(from, name, script(`ours ${name}`));
		});

		it('are installed where the host has none; manx always', () => {
			give(to, 'manx', 'old');
			give(to, 'portmap', script('the host has its own'));
			install();
			assert.equal(readFileSync(join(to, 'manx'), 'utf8'), script('ours manx'));
			assert.equal(readFileSync(join(to, 'portmap'), 'utf8'), script('the host has its own'));
			assert.equal(readFileSync(join(to, 'loopback'), 'utf8'), script('ours loopback'));
			const found = JSON.parse(readFileSync(join(runDir, pluginsFile), 'utf8')) as { supportedVersions: string[] };
			assert.deepEqual(found.supportedVersions, ['0.4.0', '1.0.0']);
		});

		it('are taken away again, those of the host excepted, also after an upgrade', () => {
			give(to, 'portmap', script('the host has its own'));
			install();
			give(from, 'manx', script('newer'));
			install();
			assert.equal(readFileSync(join(to, 'manx'), 'utf8'), script('newer'));
			assert.equal(removeInstalled(to), undefined);
			assert.deepEqual(readdirSync(to), ['portmap']);
			assert.equal(removeInstalled(to), undefined);
			assert.ok(existsSync(to));
		});
	});
});
