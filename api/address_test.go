package api_test

import (
	"net/netip"
	"testing"

	"github.com/chatapi/chatapi/api"
)

func TestTheClientIsThePeerOrWhomATrustedProxyNames(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("fd00::/8"),
	}
	for name, c := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"no proxy":                          {"203.0.113.5:4000", nil, "203.0.113.5"},
		"a header from nobody":              {"203.0.113.5:4000", []string{"198.51.100.1"}, "203.0.113.5"},
		"a proxy without a header":          {"10.0.0.1:80", nil, "10.0.0.1"},
		"a proxy's client":                  {"10.0.0.1:80", []string{"198.51.100.1"}, "198.51.100.1"},
		"two proxies":                       {"10.0.0.1:80", []string{"198.51.100.1, 192.0.2.7"}, "198.51.100.1"},
		"a spoofed list":                    {"10.0.0.1:80", []string{"127.0.0.1, 10.9.9.9, 198.51.100.1"}, "198.51.100.1"},
		"a spoofed proxy":                   {"10.0.0.1:80", []string{"198.51.100.66, 198.51.100.1, 10.2.3.4"}, "198.51.100.1"},
		"a spoofed header before the true":  {"10.0.0.1:80", []string{"192.0.2.9", "198.51.100.1"}, "198.51.100.1"},
		"rubbish left of the client":        {"10.0.0.1:80", []string{"<script>, , 198.51.100.1"}, "198.51.100.1"},
		"rubbish in the client's place":     {"10.0.0.1:80", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		"rubbish behind a proxy":            {"10.0.0.1:80", []string{"rubbish, 10.0.0.2"}, "10.0.0.1"},
		"an empty header":                   {"10.0.0.1:80", []string{""}, "10.0.0.1"},
		"an empty end":                      {"10.0.0.1:80", []string{"198.51.100.1,"}, "10.0.0.1"},
		"none but proxies":                  {"10.0.0.1:80", []string{"10.5.5.5, 10.0.0.2"}, "10.5.5.5"},
		"a client with its port":            {"10.0.0.1:80", []string{"198.51.100.1:5123"}, "198.51.100.1"},
		"IPv6 counts by /64":                {"[2001:db8:1:2:3:4:5:6]:80", nil, "2001:db8:1:2::/64"},
		"IPv6 behind a proxy":               {"[fd00::1]:80", []string{"[2001:db8:1:2::9]:5123"}, "2001:db8:1:2::/64"},
		"IPv6 in brackets":                  {"[fd00::1]:80", []string{"[2001:db8:1:2::9]"}, "2001:db8:1:2::/64"},
		"IPv6 with a zone":                  {"[fe80::1%eth0]:80", nil, "fe80::/64"},
		"IPv4 within IPv6":                  {"[::ffff:203.0.113.5]:80", nil, "203.0.113.5"},
		"a proxy as IPv4 within IPv6":       {"[::ffff:10.0.0.1]:80", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"the proxy beside the trusted ones": {"192.0.2.8:80", []string{"198.51.100.1"}, "192.0.2.8"},
		"no address at all":                 {"@", []string{"198.51.100.1"}, "@"},
	} {
		r := request("/rooms")
		r.RemoteAddr = c.peer
		for _, header := range c.forwarded {
			r.Header.Add("X-Forwarded-For", header)
		}
		if got := api.ClientAddress(r, proxies); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	r := request("/rooms", "X-Forwarded-For", "198.51.100.1")
	r.RemoteAddr = "10.0.0.1:80"
	if got := api.ClientAddress(r, nil); got != "10.0.0.1" {
		t.Errorf("without trusted proxies: %q, want the peer", got)
	}
}
