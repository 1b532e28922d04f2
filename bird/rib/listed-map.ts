/**
 * Keys and their values as a map that costs two lists as long as it is only walked over, which is all that most do with
 * some hundred thousand; it becomes a real one for those who ask for a key. Each key is in the list once.
 */
export const listedMap = <K, V>(keys: readonly K[], values: readonly V[]): ReadonlyMap<K, V> => {
	let real: ReadonlyMap<K, V> | undefined;
	const map = (): ReadonlyMap<K, V> => {
		real ??= new Map(keys.map((key, i) => [key, values[i] as V]));
		return real;
	};
	const listed: ReadonlyMap<K, V> = {
		size: keys.length,
		get: (key) => map().get(key),
		has: (key) => map().has(key),
		keys: () => keys.values(),
		values: () => values.values(),
		entries: () => map().entries(),
		[Symbol.iterator]: () => map().entries(),
		forEach: (visit) => {
			for (let i = 0; i < keys.length; i++) visit(values[i] as V, keys[i] as K, listed);
		},
	};
	return listed;
};
