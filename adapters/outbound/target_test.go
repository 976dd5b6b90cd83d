package outbound_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func TestURLsOfReceiversAreAccepted(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for _, url := range []string{
		"https://example.com", "https://example.com/", "HTTPS://EXAMPLE.com/Hook?tenant=a&x=%20", "https://a.b-c.example.co:443/x",
		"https://example.com:8443/x", "https://example.com:1024/", "https://example.com:65535/", "https://xn--mnchen-3ya.example/",
		"https://my_service.example.com/", "https://1.example.com/", "https://8.8.8.8/", "https://[2606:4700::1111]/", "https://[2606:4700::1111]:8443/x",
		"https://[::ffff:8.8.8.8]/", "https://example.com?x=1", "https://example.com/a@b", "https://3com.example/", "https://a.0x.b/",
		"https://" + strings.Repeat("a", 63) + ".example/",
	} {
		if err := c.CheckURL(ports.OutboundWebhook, "endpoint", url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestURLsThatAreNoEndpointAreRefusedWithAReason(t *testing.T) {
	t.Parallel()
	c := newClient(t)
	for _, r := range []struct{ url, why string }{
		{"", "1 to 2048"}, {"https://example.com/" + strings.Repeat("x", 2048), "1 to 2048"},
		{"example.com", "https://"}, {"//example.com/", "https://"}, {"/path", "https://"}, {"https:example.com", "no host"}, {"https:///x", "no host"},
		{"http://example.com/", "https://"}, {"ftp://example.com/", "https://"}, {"file:///etc/passwd", "https://"}, {"gopher://example.com/", "https://"},
		{"javascript:alert(1)", "https://"}, {"unix:///run/docker.sock", "https://"}, {"ws://example.com/", "https://"}, {"https://", "no host"},
		{"https://user@example.com/", "credentials"}, {"https://user:pass@example.com/", "credentials"}, {"https://@example.com/", "credentials"},
		{"https://:@example.com/", "credentials"}, {"https://example.com@10.0.0.1/", "credentials"}, {"https://example.com/#x", "fragment"}, {"https://example.com/#", "fragment"},
		{`https://example.com\@10.0.0.1/`, "backslash"}, {"https://exam ple.com/", "visible ASCII"}, {"https://example.com/\r\nHost: x", "visible ASCII"},
		{"https://example.com/\x00", "visible ASCII"}, {"https://münchen.example/", "xn--"}, {"https://example。com/", "visible ASCII"}, {"https://example.com/\u202e", "visible ASCII"},
		{" https://example.com/", "visible ASCII"}, {"https://example.com/ ", "visible ASCII"}, {"https://example.com/%zz", "no URL"}, {"https://exa%6dple.com/", "no URL"},
		{"https://%31%32%37.0.0.1/", "no URL"}, {"https://%e2%91%a0/", "labels"},
		{"https://example.com:/", "port is empty"}, {"https://example.com:0/", "port"}, {"https://example.com:65536/", "port"}, {"https://example.com:0443/", "port"},
		{"https://example.com:x/", "no URL"}, {"https://example.com:-1/", "no URL"}, {"https://example.com:22/", "port 22"}, {"https://example.com:25/", "port 25"},
		{"https://example.com:80/", "port 80"}, {"https://example.com:6379/", "port 6379"}, {"https://example.com:10080/", "port 10080"}, {"https://8.8.8.8:22/", "port 22"},
		{"https://example.com./", "labels"}, {"https://.example.com/", "labels"}, {"https://a..example.com/", "labels"}, {"https://-a.example.com/", "labels"},
		{"https://a-.example.com/", "labels"}, {"https://" + strings.Repeat("a", 64) + ".example/", "labels"}, {"https://" + strings.Repeat("a.", 127) + "com/", "253"},
		{"https://exa$mple.com/", "labels"}, {"https://*.example.com/", "labels"}, {"https://example,com/", "labels"}, {"https://[example.com]/", "no URL"},
		{"https://[127.0.0.1]/", "no URL"}, {"https://[v1.x]/", "no URL"}, {"https://[2606:4700::1111%25eth0]/", "brackets"}, {"https://[2606:4700::1111/", "no URL"}, {"https://2606:4700::1111/", "no URL"},
		{"https://localhost/", "public name"}, {"https://LOCALHOST:8443/", "public name"}, {"https://a.localhost/", "public name"}, {"https://intranet/", "public name"},
		{"https://printer.local/", "public name"}, {"https://metadata.google.internal/", "public name"}, {"https://router.home.arpa/", "public name"}, {"https://x.onion/", "public name"},
	} {
		err := c.CheckURL(ports.OutboundWebhook, "endpoint", r.url)
		var invalid *domain.Error
		if !errors.As(err, &invalid) || invalid.Code != domain.CodeValidation || invalid.Field != "endpoint" || !strings.Contains(invalid.Message, r.why) {
			t.Errorf("%q: got %v, want a validation error of endpoint with %q", r.url, err, r.why)
		}
		if err != nil && r.url != "" && strings.Contains(err.Error(), "example.co") {
			t.Errorf("%q: the error repeats the URL: %v", r.url, err)
		}
	}
}

// loopbackSpellings are ways to write an address of this machine. The port is put in for PORT.
var loopbackSpellings = []string{
	"127.0.0.1", "127.1", "127.0.1", "127.0.0.001", "127.00.00.01", "0127.0.0.1", "0177.0.0.1", "0177.0.0.01", "0177.0000.0000.0001", "0177.1",
	"017700000001", "0x7f.0.0.1", "0x7f.0x0.0x0.0x1", "0x7F.1", "0X7F.0.0.1", "0x7f000001", "0x0000007f000001", "2130706433", "02130706433", "127.0x0.0.1", "127.65536",
	"127.0.256", "4294967296", "127.0.0.1.", "127.1.", "2130706433.", "0x7f000001.", "127。0。0。1", "127．0．0．1", "①②⑦.0.0.1", "１２７.0.0.1", "%31%32%37.0.0.1",
	"127.0.0.1%00", "127.0.0.1%2e", "127.0.0.1%0d%0a", "127.0.0.1%23.example.com", "127.0.0.1%20", "127.000.000.1", "127.0.0.1.0", "0", "0.0.0.0", "0x0", "00.0.0.0", "127.255.255.254",
	"[::1]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::0.0.0.1]", "[::]", "[::127.0.0.1]", "[::7f00:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
	"[::FFFF:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[::1%25lo]",
	"[::1%lo]", "[fe80::1%25lo]", "[127.0.0.1]", "localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "localhost6", "a.localhost", "ip6-localhost",
	"user@127.0.0.1", "hooks.example@127.0.0.1", "hooks.example%40127.0.0.1", `hooks.example\@127.0.0.1`, "hooks.example#@127.0.0.1", "127.0.0.1\t", "127.0.0.1\n", " 127.0.0.1", "127\t.0.0.1",
}

// loopbackNames are public names that lead to this machine, with what their DNS answers.
var loopbackNames = map[string][]string{
	"127.0.0.1.nip.io": {"127.0.0.1"}, "7f000001.nip.io": {"127.0.0.1"}, "localtest.me": {"127.0.0.1,::1"}, "spoofed.example.com": {"::ffff:127.0.0.1"},
	"six.example.com": {"::1"}, "mixed.example.com": {"8.8.8.8,127.0.0.1"}, "other.example.com": {"2606:4700::1111,::1"}, "zero.example.com": {"0.0.0.0"},
	"translated.example.com": {"64:ff9b::127.0.0.1"}, "tunnel.example.com": {"2002:7f00:1::1"}, "xn--127-hoa.example.com": {"127.0.0.2"},
}

func TestNoSpellingOfThisMachineIsDialled(t *testing.T) {
	t.Parallel()
	if n := len(loopbackSpellings) + len(loopbackNames); n < 40 {
		t.Fatalf("only %d spellings", n)
	}
	four, six := listen(t, "127.0.0.1:0"), listen(t, "[::1]:0")
	c := scripted(t, &names{answers: loopbackNames})
	hosts := slices.Clone(loopbackSpellings)
	for name := range loopbackNames {
		hosts = append(hosts, name)
	}
	for _, scheme := range []string{"https://", "http://"} {
		for _, host := range hosts {
			for _, l := range []silent{four, six} {
				url := scheme + host + ":" + l.port() + "/"
				out := c.Send(t.Context(), attempt(url))
				if refused := out.Result == ports.Refused && out.Cause == ports.CausePolicy; !refused && (loopbackNames[host] == nil || scheme == "http://") {
					t.Errorf("%q: got %+v, want it refused by its text", url, out)
				} else if !refused && (out.Result != ports.Retryable || out.Cause != ports.CauseUnreachable) {
					t.Errorf("%q: got %+v, want it to look unreachable", url, out)
				}
				c.Forget(ports.OutboundWebhook, endpoint) // its circuit would open
			}
		}
	}
	four.mustBeQuiet(t)
	six.mustBeQuiet(t)
	if s := c.Stats(); s.Webhook.RefusedAddresses != int64(2*len(loopbackNames)) || s.Connections != 0 {
		t.Errorf("got %+v, want %d refused addresses and no connection", s, 2*len(loopbackNames))
	}
}

// TestTheDialRefusesWhatTheURLsTextHides takes away the first wall: the resolver reads spellings as inet_aton does.
func TestTheDialRefusesWhatTheURLsTextHides(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	c := outbound.NewScripted(outbound.Config{}, func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}, nil)
	defer c.Close()
	for _, host := range loopbackSpellings {
		host = strings.Trim(host, "[]")
		for _, secure := range []bool{true, false} {
			if conn, err := c.Dial(t.Context(), net.JoinHostPort(host, l.port()), secure); err == nil {
				conn.Close()
				t.Errorf("%q was dialled", host)
			}
		}
	}
	l.mustBeQuiet(t)
}

// TestTheSocketRefusesItsPeer takes away the second wall too: only the socket's own check is left.
func TestTheSocketRefusesItsPeer(t *testing.T) {
	t.Parallel()
	four, six := listen(t, "127.0.0.1:0"), listen(t, "[::1]:0")
	c := scripted(t, &names{})
	for _, l := range []silent{four, six} {
		conn, err := c.ConnectTo(t.Context(), "hooks.example.com", l.addr)
		if err == nil {
			conn.Close()
			t.Fatalf("%s was dialled", l.addr)
		}
		if !strings.Contains(err.Error(), "loopback") {
			t.Errorf("got %v, want loopback", err)
		}
	}
	mapped := netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), four.addr.Port())
	if conn, err := c.ConnectTo(t.Context(), "hooks.example.com", mapped); err == nil {
		conn.Close()
		t.Errorf("%s was dialled", mapped)
	}
	four.mustBeQuiet(t)
	six.mustBeQuiet(t)
	opened := scripted(t, &names{}, "webhook=127.0.0.1")
	conn, err := opened.ConnectTo(t.Context(), "hooks.example.com", four.addr)
	if err != nil {
		t.Fatalf("what the operator opened is not dialled: %v", err)
	}
	conn.Close()
}

func FuzzCheckURL(f *testing.F) {
	for _, host := range loopbackSpellings {
		f.Add("https://" + host + ":8443/x")
	}
	f.Add("https://example.com/a?b=c")
	f.Add("https://[2606:4700::1111]:443/")
	c := newClient(f)
	f.Fuzz(func(t *testing.T, url string) {
		if c.CheckURL(ports.OutboundWebhook, "url", url) != nil {
			return
		}
		host := hostOf(url)
		if addr, ok := loose(host); ok && !outbound.IsPublic(outbound.Allow{}, addr) {
			t.Fatalf("%q is accepted, and is %s", url, addr)
		}
	})
}

// hostOf cuts the host out of a URL in the plainest way.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "://")
	if end := strings.IndexAny(rest, `/\?#`); end >= 0 {
		rest = rest[:end]
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	if strings.HasPrefix(rest, "[") {
		inside, _, _ := strings.Cut(rest[1:], "]")
		return inside
	}
	host, _, _ := strings.Cut(rest, ":")
	return host
}

// loose reads an address as inet_aton and the WHATWG do: up to four parts, decimal, octal or hexadecimal, the last one
// filling what is left.
func loose(host string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr, true
	}
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		n, ok := looseNumber(part)
		last := i == len(parts)-1
		switch {
		case !ok, !last && n > 255:
			return netip.Addr{}, false
		case last:
			value = value<<(8*(4-i)) | n
		default:
			value = value<<8 | n
		}
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

func looseNumber(s string) (uint64, bool) {
	base, digits := uint64(10), strings.ToLower(s)
	switch {
	case digits == "":
		return 0, false
	case strings.HasPrefix(digits, "0x"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	}
	var n uint64
	for _, d := range digits {
		v := uint64(strings.IndexRune("0123456789abcdef", d))
		if v >= base || n > 1<<40 {
			return 0, false
		}
		n = n*base + v
	}
	return n, true
}

func TestTheFuzzersOracleReadsWhatItShould(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"127.1": "127.0.0.1", "0x7f.1": "127.0.0.1", "2130706433": "127.0.0.1", "0177.0.0.1": "127.0.0.1", "127.0.0.1.": "127.0.0.1",
		"0x7f000001": "127.0.0.1", "127.65536": "127.1.0.0", "::1": "::1"} {
		if addr, ok := loose(host); !ok || addr.String() != want {
			t.Errorf("%s: got %s %t, want %s", host, addr, ok, want)
		}
	}
	if _, ok := loose("example.com"); ok {
		t.Error("a name is read as an address")
	}
}
