import { type LogFn, type Logger as PinoLogger, pino } from 'pino';
import pretty from 'pino-pretty';

/** What every module logs through: pino's shape, handed in, never imported by pure code. */
export type Logger = {
	readonly debug: (fields: object, message: string) => void;
	readonly info: (fields: object, message: string) => void;
	readonly warn: (fields: object, message: string) => void;
	readonly error: (fields: object, message: string) => void;
	readonly child: (fields: object) => Logger;
};

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
/** Of it and all its children. */
export type LeveledLogger = Logger & { readonly setLevel: (level: LogLevel) => void };

/** JSON lines on stdout for machines, readable lines when stdout is a terminal. Written synchronously: a crash loses none. */
export const createLogger = (name: string, level: LogLevel): LeveledLogger => {
	let least = pino.levels.values[level] ?? 0;
	const options = {
		name,
		level: 'debug',
		timestamp: pino.stdTimeFunctions.isoTime,
		base: null,
		hooks: {
			// A child keeps the level it was made with; this is asked by all.
			logMethod(this: PinoLogger, args: Parameters<LogFn>, method: LogFn, severity: number): void {
				if (severity >= least) method.apply(this, args);
			},
		},
	};
	const logger = process.stdout.isTTY
		? pino(options, pretty({ colorize: true, sync: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'name' }))
		: pino({ ...options, formatters: { level: (label) => ({ level: label }) } }, pino.destination({ sync: true }));
	return Object.assign(logger, {
		setLevel: (next: LogLevel): void => {
			least = pino.levels.values[next] ?? 0;
		},
	});
};
