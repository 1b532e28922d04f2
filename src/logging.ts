import { pino } from 'pino';
import pretty from 'pino-pretty';

/** What every module logs through: pino's shape, handed in, never imported by pure code. */
export type Logger = {
	readonly debug: (fields: object, message: string) => void;
	readonly info: (fields: object, message: string) => void;
	readonly warn: (fields: object, message: string) => void;
	readonly error: (fields: object, message: string) => void;
	readonly child: (fields: object) => Logger;
};

/** JSON lines on stdout for machines, readable lines when stdout is a terminal. Written synchronously: a crash loses none. */
export const createLogger = (name: string, level: 'debug' | 'info' | 'warn' | 'error'): Logger => {
	const options = { name, level, timestamp: pino.stdTimeFunctions.isoTime, base: null };
	return process.stdout.isTTY
		? pino(options, pretty({ colorize: true, sync: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'name' }))
		: pino({ ...options, formatters: { level: (label) => ({ level: label }) } }, pino.destination({ sync: true }));
};
