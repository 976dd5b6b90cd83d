package outbound

import "net/netip"

// block is a range of addresses that is no part of the public network.
type block struct {
	prefix  netip.Prefix
	purpose string
}

// special holds every block of the IANA special-purpose registries
// (https://www.iana.org/assignments/iana-ipv4-special-registry, iana-ipv6-special-registry, as of 2025-10), those
// that are marked globally reachable included: they are anycast services of the network itself, and nobody's webhook.
// Added are multicast, the ranges that RFCs have withdrawn, and the one metadata service with a public address.
// NAT64's well-known prefix is missing here: it stands for the IPv4 address in it (see judged).
var special = []block{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},                 // RFC 791
	{netip.MustParsePrefix("10.0.0.0/8"), "private use"},                 // RFC 1918
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space"},     // RFC 6598
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},                   // RFC 1122
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata"},        // Azure's host, reachable from each of its machines
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},              // RFC 3927
	{netip.MustParsePrefix("172.16.0.0/12"), "private use"},              // RFC 1918
	{netip.MustParsePrefix("192.0.0.0/24"), "IETF protocol assignments"}, // RFC 6890; DS-Lite, NAT64 discovery, PCP, TURN
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},             // RFC 5737
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112"},                  // RFC 7535
	{netip.MustParsePrefix("192.52.193.0/24"), "AMT"},                    // RFC 7450
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay"},              // RFC 7526; 6a44 relay, RFC 6751
	{netip.MustParsePrefix("192.168.0.0/16"), "private use"},             // RFC 1918
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112"},                  // RFC 7534
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},             // RFC 2544
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},          // RFC 5737
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},           // RFC 5737
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},                  // RFC 5771
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},                   // RFC 1112; 255.255.255.255, RFC 919
	{netip.MustParsePrefix("::/128"), "unspecified"},                     // RFC 4291
	{netip.MustParsePrefix("::1/128"), "loopback"},                       // RFC 4291
	{netip.MustParsePrefix("::/96"), "IPv4-compatible"},                  // RFC 4291, section 2.5.5.1, withdrawn
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},              // RFC 4291; judged unmapped before it comes here
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "IPv4-translated"},        // RFC 2765, withdrawn
	{localNAT64, "NAT64 of the local network"},                           // RFC 8215
	{netip.MustParsePrefix("100::/64"), "discard-only"},                  // RFC 6666
	{netip.MustParsePrefix("100:0:0:1::/64"), "dummy prefix"},            // RFC 9780
	{netip.MustParsePrefix("2001::/32"), "Teredo"},                       // RFC 4380
	{netip.MustParsePrefix("2001:2::/48"), "benchmarking"},               // RFC 5180
	{netip.MustParsePrefix("2001:10::/28"), "ORCHID"},                    // RFC 4843
	{netip.MustParsePrefix("2001:20::/28"), "ORCHIDv2"},                  // RFC 7343
	{netip.MustParsePrefix("2001::/23"), "IETF protocol assignments"},    // RFC 2928; all else in it: PCP, TURN, DNS-SD, AMT, AS112, DRIP
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},            // RFC 3849
	{netip.MustParsePrefix("2002::/16"), "6to4"},                         // RFC 3056
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112"},                // RFC 7534
	{netip.MustParsePrefix("3ffe::/16"), "6bone"},                        // RFC 3701, returned
	{netip.MustParsePrefix("3fff::/20"), "documentation"},                // RFC 9637
	{netip.MustParsePrefix("5f00::/16"), "segment routing"},              // RFC 9602
	{netip.MustParsePrefix("fc00::/7"), "unique local"},                  // RFC 4193
	{netip.MustParsePrefix("fe80::/10"), "link-local"},                   // RFC 4291
	{netip.MustParsePrefix("fec0::/10"), "site-local"},                   // RFC 3879, withdrawn
	{netip.MustParsePrefix("ff00::/8"), "multicast"},                     // RFC 4291
}

var (
	globalUnicast  = netip.MustParsePrefix("2000::/3")       // all that IANA assigns from (RFC 4291, section 2.4)
	wellKnownNAT64 = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052
	localNAT64     = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215
)

// metadata are the addresses where clouds hand out credentials to whoever asks. An operator opens one only by naming
// exactly it: neither a network around it nor a host name does.
var metadata = map[netip.Addr]bool{
	netip.MustParseAddr("169.254.169.254"):    true, // AWS, Azure, GCP, DigitalOcean, Hetzner, OpenStack, Oracle
	netip.MustParseAddr("169.254.169.253"):    true, // AWS, DNS
	netip.MustParseAddr("169.254.170.2"):      true, // AWS ECS, task credentials
	netip.MustParseAddr("169.254.170.23"):     true, // AWS EKS, pod identity
	netip.MustParseAddr("169.254.42.42"):      true, // Scaleway
	netip.MustParseAddr("169.254.0.23"):       true, // Tencent
	netip.MustParseAddr("100.100.100.200"):    true, // Alibaba
	netip.MustParseAddr("168.63.129.16"):      true, // Azure
	netip.MustParseAddr("192.0.0.192"):        true, // Oracle, classic
	netip.MustParseAddr("fd00:ec2::254"):      true, // AWS
	netip.MustParseAddr("fd00:ec2::253"):      true, // AWS, DNS
	netip.MustParseAddr("fd00:ec2::23"):       true, // AWS EKS, pod identity
	netip.MustParseAddr("fd20:ce::254"):       true, // GCP
	netip.MustParseAddr("fd00:42::42"):        true, // Scaleway
	netip.MustParseAddr("fd00:c1::a9fe:a9fe"): true, // Oracle
	netip.MustParseAddr("fe80::a9fe:a9fe"):    true, // OpenStack
}

// purposeOf names what an address is for that is not public; "" is a public one.
func purposeOf(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return "no address"
	case addr.Zone() != "":
		return "link-local"
	}
	for _, b := range special {
		if b.prefix.Contains(addr) {
			return b.purpose
		}
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return "not assigned"
	}
	return ""
}

// isNobody reports addresses that no single machine has: nothing opens them.
func isNobody(addr netip.Addr) bool {
	return !addr.IsValid() || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() ||
		addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// judged returns the addresses that must all be allowed for a packet to addr. One that only wraps an IPv4 address is
// that address; behind a NAT64 of the local network the translator and the IPv4 address in the last 32 bits are both.
func judged(addr netip.Addr) []netip.Addr {
	addr = addr.Unmap()
	switch {
	case wellKnownNAT64.Contains(addr):
		return []netip.Addr{lastFour(addr)}
	case localNAT64.Contains(addr):
		return []netip.Addr{addr, lastFour(addr)}
	}
	return []netip.Addr{addr}
}

func lastFour(addr netip.Addr) netip.Addr {
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}
