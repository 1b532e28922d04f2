/** Of ipset's netlink protocol (include/uapi/linux/netfilter/ipset/ip_set.h). */

export const NFNL_SUBSYS_IPSET = 6;
export const IPSET_PROTOCOL_MIN = 6;

export const IPSET_CMD_CREATE = 2;
export const IPSET_CMD_DESTROY = 3;
export const IPSET_CMD_LIST = 7;
export const IPSET_CMD_ADD = 9;
export const IPSET_CMD_DEL = 10;

/** Of a message. */
export const IPSET_ATTR_PROTOCOL = 1;
export const IPSET_ATTR_SETNAME = 2;
export const IPSET_ATTR_TYPENAME = 3;
export const IPSET_ATTR_REVISION = 4;
export const IPSET_ATTR_FAMILY = 5;
export const IPSET_ATTR_FLAGS = 6;
export const IPSET_ATTR_DATA = 7;
export const IPSET_ATTR_ADT = 8;

/** Within IPSET_ATTR_DATA: of a set, or of a member. */
export const IPSET_ATTR_IP = 1;
export const IPSET_ATTR_CIDR = 3;
export const IPSET_ATTR_PORT = 4;
export const IPSET_ATTR_PROTO = 7;
export const IPSET_ATTR_HASHSIZE = 18;
export const IPSET_ATTR_MAXELEM = 19;
export const IPSET_ATTR_IFACE = 23;

export const IPSET_FLAG_LIST_HEADER = 4;
export const NLA_F_NET_BYTEORDER = 0x4000;

/** IANA protocol numbers of the names ipset prints. */
export const setProtocols: Readonly<Record<string, number>> = {
	tcp: 6,
	udp: 17,
	sctp: 132,
	udplite: 136,
	icmp: 1,
	icmpv6: 58,
};
