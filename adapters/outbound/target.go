package outbound

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/chatapi/chatapi/domain"
)

// target is a URL that is written in the one way a host can be written: what is checked is what is used.
type target struct {
	url    *url.URL   // host in lower case
	secure bool       // https
	host   string     // name or address, without brackets
	addr   netip.Addr // of an address; invalid for a name
	port   uint16
}

// parseTarget reads a URL by the letter. It refuses what different readers read differently, and says what it wants
// instead; the text never repeats the URL.
func parseTarget(raw string) (target, error) {
	if err := checkText(raw); err != nil {
		return target{}, err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return target{}, errors.New("this is no URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return target{}, errors.New("the URL begins with https://")
	case u.Opaque != "" || u.Host == "":
		return target{}, errors.New("the URL has no host")
	case u.User != nil:
		return target{}, errors.New("the URL must not carry credentials")
	}
	return locate(u)
}

// checkText looks at the letters. A fragment would never be sent; a backslash is a slash to some and not to others.
func checkText(raw string) error {
	if raw == "" || len(raw) > domain.MaxWebhookURL {
		return fmt.Errorf("a URL has 1 to %d bytes", domain.MaxWebhookURL)
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c >= 0x7f:
			return errors.New("a URL has visible ASCII characters only: write names in their xn-- form and percent-encode the rest")
		case c == '\\':
			return errors.New("a URL has no backslash")
		case c == '#':
			return errors.New("the URL must not have a fragment")
		}
	}
	return nil
}

// locate reads host and port.
func locate(u *url.URL) (target, error) {
	t := target{url: u, secure: u.Scheme == "https", port: 80}
	if t.secure {
		t.port = 443
	}
	u.Host = strings.ToLower(u.Host)
	t.host = u.Hostname()
	bracketed := strings.HasPrefix(u.Host, "[")
	var err error
	switch {
	case strings.HasSuffix(u.Host, ":"):
		return t, errors.New("the URL's port is empty")
	case u.Port() != "":
		if t.port, err = parsePort(u.Port()); err != nil {
			return t, err
		}
	}
	if !bracketed {
		t.addr, err = parseHost(t.host)
		return t, err
	}
	if t.addr, err = netip.ParseAddr(t.host); err != nil || !t.addr.Is6() || t.addr.Zone() != "" {
		return t, errors.New("in brackets stands an IPv6 address without a zone")
	}
	return t, nil
}

// parseHost reads a host name in lower case. A name whose last label is a number is an IPv4 address to many readers, in
// a dozen spellings (WHATWG URL, "ends in a number"): here only as four decimal numbers.
func parseHost(host string) (netip.Addr, error) {
	labels := strings.Split(host, ".")
	if isNumber(labels[len(labels)-1]) {
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return netip.Addr{}, errors.New("an IPv4 address is written as four decimal numbers")
		}
		return addr, nil
	}
	if len(host) > 253 {
		return netip.Addr{}, errors.New("a host name has at most 253 characters")
	}
	for _, label := range labels {
		if !isLabel(label) {
			return netip.Addr{}, errors.New("a host name has labels of 1 to 63 letters, digits, - and _ between single dots, and none at its end")
		}
	}
	return netip.Addr{}, nil
}

// isNumber reports what inet_aton would read as a number, and what comes near it.
func isNumber(label string) bool {
	if label == "" {
		return false
	}
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

func isLabel(label string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	return len(label) >= 1 && len(label) <= 63 && strings.Trim(label, letters) == "" &&
		label[0] != '-' && label[len(label)-1] != '-'
}

// isLocalName reports names that only a machine's own network knows (RFC 6761, 6762, 7686, 8375, 9476).
func isLocalName(host string) bool {
	dot := strings.LastIndexByte(host, '.')
	switch host[dot+1:] {
	case "localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "onion", "alt", "test", "invalid":
		return true
	}
	return dot < 0 || strings.HasSuffix(host, ".home.arpa")
}
