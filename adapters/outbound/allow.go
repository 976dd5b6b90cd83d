package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/chatapi/chatapi/ports"
)

// Allow is what the operator opened besides the public network. The zero value opens nothing.
type Allow struct{ rules map[ports.OutboundKind][]rule }

// rule opens a host by its name, or a network by its addresses, to calls of one kind: over https and http.
type rule struct {
	host   string       // lower case; empty in a network's
	prefix netip.Prefix // invalid in a host's
	port   uint16       // 0 = any
}

// fits reports whether the rule speaks of this port at all.
func (r rule) fits(port uint16) bool { return r.port == 0 || r.port == port }

// opens reports whether a connection to host at addr is allowed by the rule. A metadata address is only by a rule of its own.
func (r rule) opens(host string, addr netip.Addr, port uint16) bool {
	switch {
	case !r.fits(port) || isNobody(addr):
		return false
	case metadata[addr]:
		return r.prefix.IsSingleIP() && r.prefix.Addr() == addr
	}
	return r.prefix.Contains(addr) || r.host != "" && r.host == host
}

// ParseAllow reads the entries of OUTBOUND_ALLOW: llm=… or webhook=…, then a host name, an address or a network, then
// perhaps a port: ollama:11434, 10.0.0.5, 10.0.0.0/8:8080, [fd00::5]:443, fd00::/8, [fd00::/8]:443 (or fd00::/8:443).
// Errors name the entry.
func ParseAllow(entries []string) (Allow, error) {
	a := Allow{rules: map[ports.OutboundKind][]rule{}}
	for _, entry := range entries {
		purpose, target, _ := strings.Cut(strings.TrimSpace(entry), "=")
		kind := ports.OutboundKind(purpose)
		if kind != ports.OutboundLLM && kind != ports.OutboundWebhook {
			return Allow{}, fmt.Errorf("%s: an entry begins with llm= or webhook=", shown(entry))
		}
		r, err := parseRule(target)
		if err != nil {
			return Allow{}, fmt.Errorf("%s: %w", shown(entry), err)
		}
		a.rules[kind] = append(a.rules[kind], r)
	}
	return a, nil
}

// shown bounds how much of an entry an error repeats.
func shown(entry string) string {
	const enough = 100
	if len(entry) > enough {
		return strconv.Quote(entry[:enough]) + "…"
	}
	return strconv.Quote(entry)
}

func parseRule(target string) (rule, error) {
	place, port, err := splitPort(target)
	if err != nil {
		return rule{}, err
	}
	r := rule{port: port}
	switch {
	case place == "":
		return rule{}, errors.New("a host name, an address or a network is missing")
	case strings.Contains(place, "/"):
		r.prefix, err = parseNetwork(place)
	case strings.Contains(place, ":"):
		var addr netip.Addr
		if addr, err = netip.ParseAddr(place); err != nil {
			return rule{}, errors.New("this is no IPv6 address; with a port it is written [fd00::5]:443")
		}
		r.prefix, err = singleAddress(addr)
	default:
		r.host = strings.ToLower(place)
		var addr netip.Addr
		if addr, err = parseHost(r.host); err == nil && addr.IsValid() {
			r.host = ""
			r.prefix, err = singleAddress(addr)
		}
	}
	return r, err
}

// splitPort takes the port off a target. A bare IPv6 address has none: its colons are its own.
func splitPort(target string) (place string, port uint16, err error) {
	var digits string
	var given bool
	switch bracket, slash := strings.IndexByte(target, ']'), strings.LastIndexByte(target, '/'); {
	case strings.HasPrefix(target, "["):
		if bracket < 0 || target[bracket+1:] != "" && target[bracket+1] != ':' {
			return "", 0, errors.New("after [ comes an IPv6 address or network, then ], then nothing or a port")
		}
		place = target[1:bracket]
		if digits, given = strings.CutPrefix(target[bracket+1:], ":"); !strings.Contains(place, ":") {
			return "", 0, errors.New("only IPv6 is written in brackets")
		}
	case slash >= 0: // the bits of a network have no colon, so that what follows one is a port
		var bits string
		bits, digits, given = strings.Cut(target[slash:], ":")
		place = target[:slash] + bits
	case strings.Count(target, ":") > 1:
		return target, 0, nil
	default:
		place, digits, given = strings.Cut(target, ":")
	}
	if !given {
		return place, 0, nil
	}
	port, err = parsePort(digits)
	return place, port, err
}

// parsePort reads a port as it is written, with no sign and no leading zero.
func parsePort(digits string) (uint16, error) {
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
		return 0, errors.New("a port is a number from 1 to 65535")
	}
	return uint16(n), nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, errors.New("this is no network such as 10.0.0.0/8 or fd00::/8")
	case p.Addr().Is4In6():
		return p, errors.New("write the network as IPv4")
	case p != p.Masked():
		return p, fmt.Errorf("this network has bits beyond its prefix: write %s, or the address alone", p.Masked())
	}
	return p, nil
}

func singleAddress(addr netip.Addr) (netip.Prefix, error) {
	switch {
	case addr.Zone() != "":
		return netip.Prefix{}, errors.New("an address with a zone cannot be opened")
	case addr.Is4In6():
		return netip.Prefix{}, errors.New("write the address as IPv4")
	case isNobody(addr):
		return netip.Prefix{}, errors.New("this is no machine's address")
	}
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}
