/** What every module logs through: pino's shape, handed in, never imported by pure code. */
export type Logger = {
	readonly debug: (fields: object, message: string) => void;
	readonly info: (fields: object, message: string) => void;
	readonly warn: (fields: object, message: string) => void;
	readonly error: (fields: object, message: string) => void;
	readonly child: (fields: object) => Logger;
};
