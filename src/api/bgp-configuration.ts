import { z } from 'zod';
import { parseAddress } from '../net/ip.ts';
import { asNumber, community, isCommunity, notHere, seconds, secretPassword } from './bgp-fields.ts';
import { passwordFile } from './bgp-session.ts';
import { cidr, list, metadata, portNumber } from './fields.ts';

/** manx.dev/v1 BGPConfiguration: what all nodes' speakers have in common. The fields are Calico's, and a few more. */

const blocks = list(z.strictObject({ cidr: cidr('refused') }).transform((block) => block.cidr));

const routePriority = z.int().min(1, 'must be 1 to 2147483646').max(2147483646, 'must be 1 to 2147483646');

const severities = { Debug: 'debug', Info: 'info', Warning: 'warn', Error: 'error', Fatal: 'error' } as const;

export const bgpConfiguration = z.object({
	kind: z.literal('BGPConfiguration'),
	metadata: metadata('cluster'),
	spec: z
		.strictObject({
			logSeverityScreen: z
				.enum(['Debug', 'Info', 'Warning', 'Error', 'Fatal'])
				.transform((severity) => severities[severity])
				.optional(),
			asNumber: asNumber.default(64512),
			nodeToNodeMeshEnabled: z.boolean().default(true),
			listenPort: portNumber.default(179),
			bindMode: z.enum(['None', 'NodeIP']).default('None'),
			nodeMeshPassword: secretPassword.optional(),
			meshPasswordFile: passwordFile.default(''),
			nodeMeshMaxRestartTime: seconds(0, 4095).default(120),
			clusterID: z
				.string()
				.refine((value) => parseAddress(value)?.family === 4, 'must be written like an IPv4 address')
				.default('0.0.0.0'),
			ebgpRequiresPolicy: z.boolean().default(false),
			/** What a cordoned node tells its peers carries GRACEFUL_SHUTDOWN (RFC 8326). */
			drainCordonedNodes: z.boolean().default(false),
			serviceClusterIPs: blocks,
			serviceExternalIPs: blocks,
			serviceLoadBalancerIPs: blocks,
			serviceLoadBalancerAggregation: z.enum(['Enabled', 'Disabled']).default('Enabled'),
			communities: list(z.strictObject({ name: z.string().min(1, 'must not be empty'), value: community })),
			prefixAdvertisements: list(z.strictObject({ cidr: cidr('refused'), communities: list(z.string()) })),
			ignoredInterfaces: list(
				z.string().regex(/^[^/\s]{1,15}$/, 'must be an interface, * standing for any characters'),
			),
			programClusterRoutes: z
				.enum(
					['Enabled', 'EnabledNoEncapOnly', 'Disabled'],
					'must be Enabled, EnabledNoEncapOnly or Disabled: there is no encapsulation',
				)
				.default('EnabledNoEncapOnly')
				.transform((which) => which !== 'Disabled'),
			/** Metric of learnt routes in the kernel. */
			ipv4NormalRoutePriority: routePriority.optional(),
			ipv6NormalRoutePriority: routePriority.optional(),
			localWorkloadPeeringIPV4: notHere('there is no BGP with workloads'),
			localWorkloadPeeringIPV6: notHere('there is no BGP with workloads'),
		})
		.prefault({})
		.transform((given, context) => {
			const { communities, prefixAdvertisements, nodeMeshPassword, logSeverityScreen, ...spec } = given;
			const { ipv4NormalRoutePriority: ipv4, ipv6NormalRoutePriority: ipv6, ...others } = spec;
			const { localWorkloadPeeringIPV4: _4, localWorkloadPeeringIPV6: _6, ...kept } = others;
			if (nodeMeshPassword !== undefined && spec.meshPasswordFile !== '') {
				context.addIssue({
					code: 'custom',
					path: ['meshPasswordFile'],
					message: 'may not stand beside nodeMeshPassword: one password',
				});
				return z.NEVER;
			}
			const named = new Map(communities.map(({ name, value }) => [name, value]));
			const advertisements = prefixAdvertisements.map((advertisement, i) => ({
				cidr: advertisement.cidr,
				communities: advertisement.communities.map((text, j) => {
					const value = named.get(text) ?? text;
					if (!isCommunity(value)) {
						context.addIssue({
							code: 'custom',
							path: ['prefixAdvertisements', i, 'communities', j],
							message: `'${text}' is neither a community nor the name of one in spec.communities`,
						});
					}
					return value;
				}),
			}));
			return {
				...kept,
				routePriorities: { ...(ipv4 !== undefined && { ipv4 }), ...(ipv6 !== undefined && { ipv6 }) },
				...(logSeverityScreen && { logSeverityScreen }),
				...(nodeMeshPassword && { nodeMeshPassword }),
				prefixAdvertisements: advertisements,
				serviceLoadBalancerAggregation: spec.serviceLoadBalancerAggregation === 'Enabled',
			};
		}),
});
