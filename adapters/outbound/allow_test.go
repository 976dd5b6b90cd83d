package outbound_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

func TestEntriesOfTheListAreUnderstood(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		entry string
		opens []string // URLs
		not   []string
	}{
		{"webhook=10.0.0.5", []string{"http://10.0.0.5/", "https://10.0.0.5:8443/x", "http://10.0.0.5:6379/"}, []string{"http://10.0.0.6/"}},
		{"webhook=10.0.0.5:8080", []string{"http://10.0.0.5:8080/", "https://10.0.0.5:8080/"}, []string{"http://10.0.0.5/", "https://10.0.0.5/"}},
		{"webhook=10.1.0.0/16", []string{"http://10.1.2.3/"}, []string{"http://10.2.0.0/"}},
		{"webhook=10.1.0.0/16:81", []string{"http://10.1.2.3:81/"}, []string{"http://10.1.2.3/"}},
		{"webhook=fd00::5", []string{"http://[fd00::5]/"}, []string{"http://[fd00::6]/"}},
		{"webhook=[fd00::5]", []string{"http://[fd00::5]/"}, nil},
		{"webhook=[fd00::5]:81", []string{"http://[fd00::5]:81/"}, []string{"http://[fd00::5]/"}},
		{"webhook=fd00:0:0:1::/64", []string{"http://[fd00:0:0:1::9]:99/"}, []string{"http://[fd00:0:0:2::9]/"}},
		{"webhook=fd00::/8:81", []string{"http://[fd12::9]:81/"}, []string{"http://[fd12::9]/"}},
		{"webhook=[fd00::/8]:81", []string{"http://[fd12::9]:81/"}, []string{"http://[fd12::9]/"}},
		{"webhook=[fd00::/8]", []string{"http://[fd12::9]/"}, nil},
		{"webhook=Receiver", []string{"http://receiver/", "https://RECEIVER:99/"}, []string{"http://receiver2/", "http://x.receiver/"}},
		{"webhook=receiver.internal:3000", []string{"http://receiver.internal:3000/"}, []string{"http://receiver.internal/"}},
		{"webhook=hooks.example.com:80", []string{"http://hooks.example.com/"}, []string{"http://hooks.example.com:81/", "http://example.com/"}},
		{" webhook=10.0.0.5 ", []string{"http://10.0.0.5/"}, nil},
		{"llm=10.0.0.5", nil, []string{"http://10.0.0.5/", "https://10.0.0.5/"}},
	} {
		client := newClient(t, c.entry)
		for _, url := range c.opens {
			if err := client.CheckURL(ports.OutboundWebhook, "url", url); err != nil {
				t.Errorf("%s refuses %s: %v", c.entry, url, err)
			}
		}
		for _, url := range c.not {
			if client.CheckURL(ports.OutboundWebhook, "url", url) == nil {
				t.Errorf("%s opens %s", c.entry, url)
			}
		}
	}
}

func TestMalformedEntriesAreNamed(t *testing.T) {
	t.Parallel()
	for entry, why := range map[string]string{
		"":                                       "begins with",
		"10.0.0.1":                               "begins with",
		"smtp=10.0.0.1":                          "begins with",
		"LLM=10.0.0.1":                           "begins with",
		"llm=":                                   "missing",
		"llm=:80":                                "missing",
		"llm=10.0.0.1:0":                         "port",
		"llm=10.0.0.1:":                          "port",
		"llm=10.0.0.1:080":                       "port",
		"llm=10.0.0.1:65536":                     "port",
		"llm=10.0.0.1:+80":                       "port",
		"llm=fd00::/8:http":                      "port",
		"llm=10.0.0.1/8":                         "10.0.0.0/8",
		"llm=10.0.0.0/33":                        "no network",
		"llm=10.0.0.0/":                          "no network",
		"llm=host/8":                             "no network",
		"llm=https://host":                       "no network",
		"llm=http://10.0.0.1/8":                  "no network",
		"llm=fd00::1/8":                          "fd00::/8",
		"llm=[fd00::1":                           "after [",
		"llm=[fd00::1]x":                         "after [",
		"llm=[fd00::1]:":                         "port",
		"llm=[10.0.0.1]:80":                      "brackets",
		"llm=[host]":                             "brackets",
		"llm=fd00::zz":                           "IPv6",
		"llm=fe80::1%eth0":                       "zone",
		"llm=::ffff:10.0.0.1":                    "IPv4",
		"llm=::ffff:10.0.0.0/104":                "IPv4",
		"llm=0.0.0.0":                            "machine",
		"llm=::":                                 "machine",
		"llm=224.0.0.1":                          "machine",
		"llm=255.255.255.255":                    "machine",
		"llm=127.1":                              "four decimal",
		"llm=0x7f000001":                         "four decimal",
		"llm=host.":                              "labels",
		"llm=a..b":                               "labels",
		"llm=ho st":                              "labels",
		"llm=*.example.com":                      "labels",
		"llm=münchen":                            "labels",
		"llm=user@host":                          "labels",
		"llm=" + strings.Repeat("a.", 130) + "b": "253",
	} {
		_, err := outbound.ParseAllow([]string{"llm=ollama:11434", entry})
		if err == nil || !strings.Contains(err.Error(), why) || len(err.Error()) > 400 {
			t.Errorf("%q: got %v, want an error with %q", entry, err, why)
		}
		if err != nil && len(entry) < 90 && !strings.Contains(err.Error(), `"`+entry+`"`) {
			t.Errorf("%q is not named by %v", entry, err)
		}
	}
}

func TestANetworkOpensNoMetadataAddress(t *testing.T) {
	t.Parallel()
	everything := allow(t, "webhook=0.0.0.0/0", "webhook=::/0", "webhook=host.example")
	for _, addr := range outbound.Metadata() {
		if outbound.IsPublic(everything, addr) {
			t.Errorf("%s is opened by a network", addr)
		}
		one := allow(t, "webhook="+addr.String())
		if !outbound.IsPublic(one, addr) {
			t.Errorf("%s cannot be opened by itself", addr)
		}
		if next := addr.Next(); outbound.IsPublic(one, next) && !outbound.IsPublic(outbound.Allow{}, next) {
			t.Errorf("%s opens its neighbour", addr)
		}
	}
	for _, text := range []string{"0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%eth0", "64:ff9b:1::a9fe:a9fe", "::ffff:169.254.169.254"} {
		if outbound.IsPublic(everything, netip.MustParseAddr(text)) {
			t.Errorf("%s is opened", text)
		}
	}
	for _, text := range []string{"10.0.0.1", "127.0.0.1", "::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::10.0.0.1"} {
		if !outbound.IsPublic(everything, netip.MustParseAddr(text)) {
			t.Errorf("%s is not opened", text)
		}
	}
}

// TestANameOpensWhereItLeadsButNotMetadata is the case of a name that the operator opened and somebody else's DNS answers.
func TestANameOpensWhereItLeadsButNotMetadata(t *testing.T) {
	t.Parallel()
	named := allow(t, "webhook=host.example")
	for text, want := range map[string]bool{"10.0.0.1": true, "127.0.0.1": true, "fd00::1": true, "169.254.169.254": false,
		"fd00:ec2::254": false, "0.0.0.0": false, "64:ff9b::a9fe:a9fe": false} {
		if got := outbound.IsPublic(named, netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is reachable: %t, want %t", text, got, want)
		}
	}
}

func TestATranslatorOfTheLocalNetworkOpensWithWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	translator := allow(t, "webhook=64:ff9b:1::/96")
	for text, want := range map[string]bool{"64:ff9b:1::8.8.8.8": true, "64:ff9b:1::10.0.0.1": false, "64:ff9b:1::7f00:1": false} {
		if got := outbound.IsPublic(translator, netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is reachable: %t, want %t", text, got, want)
		}
	}
}

func TestEachKindHasItsOwnList(t *testing.T) {
	t.Parallel()
	c := newClient(t, "llm=10.0.0.5:11434", "webhook=10.0.0.6")
	for _, check := range []struct {
		kind ports.OutboundKind
		url  string
		ok   bool
	}{
		{ports.OutboundLLM, "http://10.0.0.5:11434/v1", true}, {ports.OutboundWebhook, "http://10.0.0.5:11434/v1", false},
		{ports.OutboundLLM, "http://10.0.0.6/", false}, {ports.OutboundWebhook, "http://10.0.0.6/", true},
	} {
		if err := c.CheckURL(check.kind, "url", check.url); (err == nil) != check.ok {
			t.Errorf("%s %s: got %v, want ok %t", check.kind, check.url, err, check.ok)
		}
	}
}
