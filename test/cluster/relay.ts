import { rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';

/**
 * Run inside the control plane's network namespace: makes the API server reachable from anywhere on the machine, by a
 * unix socket. Usage: relay.ts SOCKET HOST PORT
 */
const [socketPath = '', host = '', port = ''] = process.argv.slice(2);

rmSync(socketPath, { force: true });
createServer({ allowHalfOpen: true }, (client) => {
	const server = connect({ host, port: Number(port), allowHalfOpen: true });
	const end = (): void => {
		client.destroy();
		server.destroy();
	};
	client.on('error', end);
	server.on('error', end);
	client.pipe(server).pipe(client);
}).listen(socketPath);
