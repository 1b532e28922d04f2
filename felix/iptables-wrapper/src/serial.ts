/** Runs one task at a time, in the order asked for. A failed task does not stop the next. */
export const createSerial = (): (<T>(task: () => Promise<T>) => Promise<T>) => {
	let last: Promise<unknown> = Promise.resolve();
	return (task) => {
		const next = last.then(task, task);
		last = next.catch(() => undefined);
		return next;
	};
};
