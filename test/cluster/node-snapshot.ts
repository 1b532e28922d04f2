import { sleep } from '../../src/lab/shell.ts';
import type { Harness } from './harness.ts';

/** Everything about a node that an installation or a pod could change and its removal has to put back; for comparison. */
export const nodeSnapshot = async (cluster: Harness, node: string, folders: string[]): Promise<readonly string[]> =>
	(await cluster.output(node, 'bash', '-c', script, 'snapshot', ...folders)).split('\n');

/** As `nodeSnapshot`, once it has been the same for 10 s: what was taken away a moment ago leaves things on their way out. */
export const settledSnapshot = async (
	cluster: Harness,
	node: string,
	folders: string[],
): Promise<readonly string[]> => {
	let last: readonly string[] = [];
	await cluster.eventually(`${node} settles`, 180, async () => {
		const before = last;
		await sleep(10_000);
		last = await nodeSnapshot(cluster, node, folders);
		return differences(before, last).join('\n') || undefined;
	});
	return last;
};

/** Lines that only one of the two snapshots has: "- line" of the first, "+ line" of the second. */
export const differences = (before: readonly string[], now: readonly string[]): readonly string[] => {
	const [old, recent] = [new Set(before), new Set(now)];
	return [
		...before.filter((line) => !recent.has(line)).map((line) => `- ${line}`),
		...now.filter((line) => !old.has(line)).map((line) => `+ ${line}`),
	];
};

const script = `
ip -o link | sed -E 's/^[0-9]+: //; s/@if[0-9]+//' | sort
ip -o address | sed -E 's/^[0-9]+: //; s/valid_lft.*//' | sort
for f in -4 -6; do
	ip $f route show table all | sed -E 's/ expires [0-9]+sec//' | sort
	ip $f rule
	ip $f neighbour show nud permanent | sort
done
for s in iptables-nft-save ip6tables-nft-save iptables-legacy-save ip6tables-legacy-save; do
	# A table that holds nothing does nothing: iptables-nft makes them by looking.
	$s 2>/dev/null | awk -v save=$s '
		/^\\*/ { table = $0; text = ""; held = 0 }
		/^:/ { text = text save table " " $1 " " $2 "\\n"; if ($2 != "ACCEPT") held = 1 }
		/^-A/ { text = text save table " " $0 "\\n"; held = 1 }
		/^COMMIT/ { if (held) printf "%s", text }' | sort
done
ipset save | sort
find "$@" 2>/dev/null | sort
cd /proc/sys/net && for f in ipv4/ip_forward ipv6/conf/*/forwarding ipv6/conf/*/accept_ra ipv4/conf/*/{forwarding,rp_filter}; do
	echo "$f $(cat $f)"
done
`;
