import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { buildShim } from '../../felix/cni/build-shim.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { birdOptions } from './node-options.ts';

/**
 * Everything of the image that Debian does not bring, laid out below build/image as it lies in the image: the pinned
 * Node, the program as a bundle, the two native modules, and the CNI executable. The Dockerfile copies it in. It is for
 * the architecture it is made on: an arm64 image is made on arm64.
 */

const root = join(import.meta.dirname, '../..');
export const contextFolder = join(root, 'build/image');

/** Packages that load a native file from beside themselves: they stay folders, cut down to what runs here. */
const nativePackages = (arch: string): readonly string[] => [
	'koffi',
	`@koromix/koffi-linux-${arch}`,
	'netlink',
	'node-gyp-build',
];

const isNeeded = (path: string, arch: string): boolean => {
	const name = basename(path);
	if (/musl/.test(path) || /\/(doc|vendor|test|node_modules)$/.test(path)) return false;
	if (/\/prebuilds\/[^/]+$/.test(path)) return name === `linux-${arch}`;
	if (!name.includes('.')) return true;
	return /\.(c?js|json|node)$/.test(name);
};

/** Of Node, in the image. */
export const nodeOptions = ['--no-warnings'] as const;

/**
 * felix knows all pods of a cluster and is on every node. Its young generation stays small, where V8 would let it grow to
 * 48 MB, and the old one is collected when it has grown by a fifth, where V8 would let it double.
 */
export const felixOptions = ['--max-semi-space-size=2', '--heap-growing-percent=20', '--optimize-for-size'] as const;

const launcher = `#!/bin/sh
# glibc would keep apart what each of Node's threads has freed.
export MALLOC_ARENA_MAX=1
[ "$1" = felix ] && small='${felixOptions.join(' ')}'
[ "$1" = bird ] && small='${birdOptions.join(' ')}'
exec /usr/local/bin/node ${nodeOptions.join(' ')} $small /usr/lib/manx/main.js "$@"
`;

/**
 * Of @kubernetes/client-node only KubeConfig is used. All of it would be 17 MB of models, kept in memory as source text:
 * its modules have no side effects, though the package does not say so.
 */
const leanClientNode: Plugin = {
	name: 'lean-client-node',
	setup: ({ onResolve, resolve }) => {
		onResolve({ filter: /^@kubernetes\/client-node$/ }, () => ({
			path: join(root, 'node_modules/@kubernetes/client-node/dist/config.js'),
			sideEffects: false,
		}));
		onResolve({ filter: /^\./ }, async ({ path, importer, resolveDir, kind, pluginData }) => {
			if (pluginData === 'resolved' || !importer.includes('/@kubernetes/client-node/')) return undefined;
			const found = await resolve(path, { importer, resolveDir, kind, pluginData: 'resolved' });
			return { ...found, sideEffects: false };
		});
	},
};

/** The program calls itself by another version than package.json does. */
const versioned = (version: string): Plugin => ({
	name: 'versioned',
	setup: ({ onLoad }) => {
		onLoad({ filter: /\/package\.json$/ }, ({ path }) => {
			if (path !== join(root, 'package.json')) return undefined;
			return { contents: JSON.stringify({ ...packageJson, version }), loader: 'json' };
		});
	},
});

/** The program as a bundle in `folder`; the native modules must be found from there. */
export const buildProgram = async (folder: string, version = packageJson.version): Promise<void> => {
	await build({
		entryPoints: { main: join(root, 'src/main.ts'), 'bfd-worker': join(root, 'bird/bfd/worker.ts') },
		outdir: folder,
		bundle: true,
		splitting: true,
		platform: 'node',
		format: 'esm',
		target: 'node24',
		external: ['koffi', 'netlink'],
		plugins: [leanClientNode, versioned(version)],
		minifySyntax: true,
		minifyWhitespace: true,
		legalComments: 'none',
		logLevel: 'warning',
		// The CommonJS packages within ask for Node's own modules by require().
		banner: {
			js: "import { createRequire as manxRequire } from 'node:module';\nconst require = manxRequire(import.meta.url);",
		},
	});
	writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
};

/** Throws with the reason when the bundle or the CNI executable cannot be made. */
export const buildContext = async (version: string): Promise<void> => {
	const { arch } = process;
	if (arch !== 'x64' && arch !== 'arm64') throw new Error(`There is no image for ${arch}, only for x64 and arm64.`);
	rmSync(contextFolder, { recursive: true, force: true });
	const program = join(contextFolder, 'usr/lib/manx');
	const programs = join(contextFolder, 'usr/local/bin');
	mkdirSync(programs, { recursive: true });
	await buildProgram(program, version);
	const modules = join(root, 'node_modules');
	for (const name of nativePackages(arch)) {
		const from = join(modules, name);
		cpSync(from, join(program, 'node_modules', name), {
			recursive: true,
			dereference: true,
			filter: (path) => path === from || isNeeded(path.slice(dirname(from).length), arch),
		});
	}
	const node = join(programs, 'node');
	cpSync(join(modules, `node-linux-${arch}/bin/node`), node, { dereference: true });
	// Its symbol table is a seventh of it and of use to debuggers of Node only.
	spawnSync('strip', ['--strip-unneeded', node]);
	writeFileSync(join(programs, 'manx'), launcher);
	chmodSync(join(programs, 'manx'), 0o755);
	const shim = buildShim(join(program, 'cni/manx'));
	if (!shim.ok) throw new Error(shim.error);
};
