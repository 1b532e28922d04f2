/**
 * What the status of one of our objects says of its being accepted, and what it should say. Pure.
 *
 * `status.problems` lists why it is not: an entry without `node` is found by every node alike and belongs to all of them,
 * one with `node` belongs to that node alone. The condition `Accepted` sums the list up. So many nodes write one status,
 * each its own part, and one that finds its part there already writes nothing.
 */

export type StatusProblem = { readonly node?: string; readonly reason: string; readonly message: string };

export type Condition = {
	readonly type: string;
	readonly status: string;
	readonly reason?: string;
	readonly message?: string;
	readonly lastTransitionTime?: string;
};

export type AcceptedStatus = {
	readonly problems: readonly StatusProblem[];
	readonly conditions: readonly Condition[];
};

/** Characters of a condition's message. */
const longest = 1024;
/** Entries of `problems`, so that a status stays readable and small. */
const most = 50;

const text = ({ node, message }: StatusProblem): string =>
	node === undefined ? message : `on Node ${node}: ${message}`;
const order = (problem: StatusProblem): string => `${problem.node ?? ''}\0${problem.reason}\0${problem.message}`;
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What a status holds, whoever wrote it. */
const read = (status: unknown): AcceptedStatus => {
	const raw = (typeof status === 'object' && status !== null ? status : {}) as {
		problems?: unknown;
		conditions?: unknown;
	};
	const listed = <T>(value: unknown): T[] => (Array.isArray(value) ? (value as T[]) : []);
	return {
		problems: listed<StatusProblem>(raw.problems).map(({ node, reason, message }) => ({
			...(node !== undefined && { node }),
			reason,
			message,
		})),
		conditions: listed<Condition>(raw.conditions),
	};
};

/**
 * The status to write, or undefined when it stands there already. `own` are this node's findings, without `node` where
 * every node finds the same; entries of nodes that do not exist (any more) go.
 */
export const acceptedStatus = (
	status: unknown,
	own: readonly StatusProblem[],
	nodeName: string,
	nodeExists: (name: string) => boolean,
	timestamp: string,
): AcceptedStatus | undefined => {
	const before = read(status);
	const others = before.problems.filter(({ node }) => node !== undefined && node !== nodeName && nodeExists(node));
	const problems = [...own, ...others].sort((a, b) => (order(a) < order(b) ? -1 : 1)).slice(0, most);
	const [first] = problems;
	const wanted = {
		type: 'Accepted',
		status: first === undefined ? 'True' : 'False',
		reason: first?.reason ?? 'Accepted',
		message: first === undefined ? 'nothing is wrong with it' : problems.map(text).join('; ').slice(0, longest),
	};
	const present = before.conditions.find(({ type }) => type === wanted.type);
	const stands =
		present?.status === wanted.status && present.reason === wanted.reason && present.message === wanted.message;
	if (stands && same(before.problems, problems)) return undefined;
	const kept = present?.status === wanted.status ? present.lastTransitionTime : undefined;
	return {
		problems,
		conditions: [
			...before.conditions.filter(({ type }) => type !== wanted.type),
			{ ...wanted, lastTransitionTime: kept ?? timestamp },
		],
	};
};
