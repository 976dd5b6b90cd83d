package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// ClientAddress names where a request comes from, for counting what one client does: an IPv4 address, or the /64 of an
// IPv6 address, since one subscriber has a whole one. That is the peer of the connection, unless the peer is in
// trusted: then it is the right-most address of X-Forwarded-For that is not. What stands left of that was written by
// somebody nobody vouches for, and is not even parsed. When all are trusted the left-most is the client. An entry that
// cannot be read on the way makes the header worth nothing, and the peer is the client.
//
// A connection that has no address, as over a unix socket, is named by its RemoteAddr.
func ClientAddress(r *http.Request, trusted []netip.Prefix) string {
	peer, ok := parseAddress(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	if isTrusted(peer, trusted) {
		return network(forwardedFor(r.Header.Values("X-Forwarded-For"), peer, trusted))
	}
	return network(peer)
}

// forwardedFor walks a list of hops from the nearest to the farthest.
func forwardedFor(headers []string, peer netip.Addr, trusted []netip.Prefix) netip.Addr {
	if len(headers) == 0 {
		return peer
	}
	hops := strings.Split(strings.Join(headers, ","), ",")
	var hop netip.Addr
	for i := len(hops) - 1; i >= 0; i-- {
		var ok bool
		if hop, ok = parseAddress(strings.TrimSpace(hops[i])); !ok {
			return peer
		}
		if !isTrusted(hop, trusted) {
			break
		}
	}
	return hop
}

// parseAddress reads an address with or without a port. IPv4 within IPv6 is IPv4, and a zone says nothing to others.
func parseAddress(s string) (netip.Addr, bool) {
	if pair, err := netip.ParseAddrPort(s); err == nil {
		return pair.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s = strings.TrimSuffix(inner, "]")
	}
	addr, err := netip.ParseAddr(s)
	return addr.Unmap().WithZone(""), err == nil
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// network is the address, or of IPv6 its /64.
func network(addr netip.Addr) string {
	if addr.Is4() {
		return addr.String()
	}
	p, _ := addr.Prefix(64) // 64 is a length that every IPv6 address has
	return p.String()
}
