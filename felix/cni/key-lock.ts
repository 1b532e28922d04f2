/** Runs actions of the same key one after the other, in the order they came; those of different keys side by side. */
export type KeyLock = {
	readonly run: <T>(key: string, action: () => Promise<T>) => Promise<T>;
	/** Nothing runs or waits. */
	readonly idle: () => boolean;
};

export const createKeyLock = (): KeyLock => {
	const last = new Map<string, Promise<unknown>>();
	return {
		run: (key, action) => {
			const turn = (last.get(key) ?? Promise.resolve()).then(action);
			const settled = turn.catch(() => {});
			last.set(key, settled);
			void settled.then(() => {
				if (last.get(key) === settled) last.delete(key);
			});
			return turn;
		},
		idle: () => last.size === 0,
	};
};
