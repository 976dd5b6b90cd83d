package outbound_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

// twins are two listeners of one port: a server at 127.0.0.2, which the test opens and a name leads to first, and inside,
// 127.0.0.1, where it leads then.
func twins(t testing.TB, h http.HandlerFunc) (inside silent) {
	t.Helper()
	for {
		first, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(first.Addr().String())
		second, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			first.Close()
			continue // the port is somebody else's at the other address
		}
		t.Cleanup(func() { second.Close() })
		opened := &httptest.Server{Listener: first, Config: &http.Server{Handler: h}}
		opened.Start()
		t.Cleanup(opened.Close)
		return silent{second, netip.MustParseAddrPort(second.Addr().String())}
	}
}

func TestADNSFlipReachesNothingAndBorrowsNoConnection(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	var peers sync.Map // the connections' other ends
	inside := twins(t, func(_ http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		peers.Store(r.RemoteAddr, true)
	})
	n := &names{answers: map[string][]string{"rebind.example.com": {"127.0.0.2", "127.0.0.1"}}}
	c := scripted(t, n, "webhook=127.0.0.2", "llm=127.0.0.1")
	url := "http://rebind.example.com:" + inside.port() + "/"

	a := attempt(url)
	wantOutcome(t, c.Send(t.Context(), a), ports.Delivered, "")
	a.Endpoint = "tenant_b/webhook" // another tenant's; its own lookup is the second
	wantOutcome(t, c.Send(t.Context(), a), ports.Retryable, ports.CauseUnreachable)
	if n.lookups != 2 || calls.Load() != 1 {
		t.Fatalf("got %d lookups and %d calls, want 2 and 1", n.lookups, calls.Load())
	}
	a.Endpoint = endpoint // the first one's connection, whose peer was judged, is still its own
	wantOutcome(t, c.Send(t.Context(), a), ports.Delivered, "")
	conns := 0
	peers.Range(func(any, any) bool { conns++; return true })
	if n.lookups != 2 || calls.Load() != 2 || conns != 1 {
		t.Errorf("got %d lookups, %d calls and %d connections, want 2, 2 and 1", n.lookups, calls.Load(), conns)
	}
	c.Forget(ports.OutboundWebhook, endpoint)
	wantOutcome(t, c.Send(t.Context(), a), ports.Retryable, ports.CauseUnreachable)
	inside.mustBeQuiet(t)
}

func TestTheAddressThatWasJudgedIsTheOneThatIsDialled(t *testing.T) {
	t.Parallel()
	inside := twins(t, func(http.ResponseWriter, *http.Request) {})
	n := &names{answers: map[string][]string{"flip.example.com": {"127.0.0.2", "127.0.0.1"}}}
	c := scripted(t, n, "webhook=127.0.0.2")
	conn, err := c.Dial(t.Context(), "flip.example.com:"+inside.port(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n.lookups != 1 || !strings.HasPrefix(conn.RemoteAddr().String(), "127.0.0.2:") {
		t.Errorf("%d lookups, connected to %s", n.lookups, conn.RemoteAddr())
	}
	inside.mustBeQuiet(t)
}

func TestOneAddressOutOfReachRefusesTheName(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	inside := twins(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	for _, answer := range []string{"127.0.0.2,127.0.0.1", "127.0.0.1,127.0.0.2", "127.0.0.2,::1", "::1,127.0.0.2",
		strings.Repeat("127.0.0.2,", 2*outbound.MaxAddresses) + "127.0.0.1"} {
		c := scripted(t, &names{answers: map[string][]string{"mixed.example.com": {answer}}}, "webhook=127.0.0.2")
		out := c.Send(t.Context(), attempt("http://mixed.example.com:"+inside.port()+"/"))
		wantOutcome(t, out, ports.Retryable, ports.CauseUnreachable)
	}
	inside.mustBeQuiet(t)
	if calls.Load() != 0 {
		t.Errorf("got %d calls at the address that is allowed", calls.Load())
	}
}

// TestAnOpenedNetworkOpensNothingElse is the case of a URL whose text may lead to what the operator opened, and whose
// name leads elsewhere.
func TestAnOpenedNetworkOpensNothingElse(t *testing.T) {
	t.Parallel()
	n := &names{answers: map[string][]string{"public.example.com": {"8.8.8.8"}, "opened.example.com": {"10.1.2.3"}, "other.example.com": {"10.2.0.1"}}}
	var dialled []string
	c := outbound.NewScripted(outbound.Config{Allow: allow(t, "webhook=10.1.0.0/16:6379", "webhook=10.1.0.0/16:80")}, n.lookup,
		func(_ context.Context, _ *net.Dialer, to netip.AddrPort) (net.Conn, error) {
			dialled = append(dialled, to.String())
			return nil, io.EOF
		})
	defer c.Close()
	for _, host := range []string{"public", "opened", "other"} {
		for _, url := range []string{"http://" + host + ".example.com/", "https://" + host + ".example.com:6379/", "https://" + host + ".example.com/"} {
			wantOutcome(t, c.Send(t.Context(), attempt(url)), ports.Retryable, ports.CauseUnreachable)
			c.Forget(ports.OutboundWebhook, endpoint)
		}
	}
	if want := []string{"8.8.8.8:443", "10.1.2.3:80", "10.1.2.3:6379"}; !slices.Equal(dialled, want) {
		t.Errorf("dialled %v, want %v", dialled, want)
	}
	for url, why := range map[string]string{"http://8.8.8.8/": "plain http", "https://8.8.8.8:6379/": "port 6379", "http://10.2.0.1/": "private use"} {
		if err := c.CheckURL(ports.OutboundWebhook, "url", url); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: got %v, want %q", url, err, why)
		}
	}
}

func TestTenantsCannotTellANameThatLeadsInsideFromOneThatLeadsNowhere(t *testing.T) {
	t.Parallel()
	gone := listen(t, "127.0.0.2:0")
	port := gone.port()
	gone.Close()
	c := scripted(t, &names{answers: map[string][]string{"inside.example.com": {"10.1.2.3"}, "closed.example.com": {"127.0.0.2"}}}, "webhook=127.0.0.2")
	strip := func(host string) ports.Outcome {
		out := c.Send(t.Context(), attempt("https://"+host+":"+port+"/"))
		out.Took = 0
		return out
	}
	nowhere, inside, closed := strip("nowhere.example.com"), strip("inside.example.com"), strip("closed.example.com")
	for _, other := range []ports.Outcome{inside, closed} {
		if other.Result != nowhere.Result || other.Cause != nowhere.Cause || other.Status != nowhere.Status || other.RetryAfter != nowhere.RetryAfter {
			t.Errorf("got %+v, want %+v", other, nowhere)
		}
	}
}

// answerDNS answers queries over UDP from a zone: name → lines of "A 1.2.3.4", "AAAA ::1", "CNAME other.".
func answerDNS(t testing.TB, zone map[string][]string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(reply(query[:n], zone), from)
		}
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
)

// reply makes the answer to a query of one question, following CNAMEs within the zone (RFC 1035, section 4).
func reply(query []byte, zone map[string][]string) []byte {
	question := query[12:]
	end := 0
	var labels []string
	for question[end] != 0 {
		n := int(question[end])
		labels = append(labels, string(question[end+1:end+1+n]))
		end += 1 + n
	}
	name := strings.ToLower(strings.Join(labels, ".") + ".")
	wanted := binary.BigEndian.Uint16(question[end+1:])
	var records []byte
	count := 0
	add := func(name string, kind uint16, data []byte) {
		records = append(records, encodeName(name)...)
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // IN, TTL 0
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
		count++
	}
	for hop := 0; hop < 8 && name != ""; hop++ {
		next := ""
		for _, line := range zone[name] {
			kind, value, _ := strings.Cut(line, " ")
			switch {
			case kind == "CNAME":
				next = value
				add(name, typeCNAME, encodeName(value))
			case kind == "A" && wanted == typeA, kind == "AAAA" && wanted == typeAAAA:
				add(name, wanted, netip.MustParseAddr(value).AsSlice())
			}
		}
		name = next
	}
	out := slices.Clone(query[:2])
	out = append(out, 0x84, 0, 0, 1, 0, byte(count), 0, 0, 0, 0) // an authoritative answer
	out = append(out, question[:end+5]...)
	return append(out, records...)
}

func encodeName(name string) []byte {
	var out []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		out = append(append(out, byte(len(label))), label...)
	}
	return append(out, 0)
}

// TestRealDNSAnswersAreJudged uses the client as it is: the standard resolver, real sockets.
func TestRealDNSAnswersAreJudged(t *testing.T) {
	t.Parallel()
	inside := twins(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "reached") })
	c := outbound.New(outbound.Config{Allow: allow(t, "webhook=127.0.0.2"), Resolver: answerDNS(t, map[string][]string{
		"good.example.com.":        {"A 127.0.0.2"},
		"alias.example.com.":       {"CNAME good.example.com."},
		"inside.example.com.":      {"A 127.0.0.1"},
		"cname.example.com.":       {"CNAME hop.example.net."},
		"hop.example.net.":         {"CNAME inside.example.com."},
		"six.example.com.":         {"A 127.0.0.2", "AAAA ::1"},
		"many.example.com.":        {"A 127.0.0.2", "A 127.0.0.1"},
		"metadata.example.com.":    {"A 169.254.169.254"},
		"metadata6.example.com.":   {"AAAA fd00:ec2::254"},
		"mapped.example.com.":      {"AAAA ::ffff:127.0.0.1"},
		"nat64.example.com.":       {"AAAA 64:ff9b::7f00:1"},
		"unspecified.example.com.": {"A 0.0.0.0"},
	})})
	defer c.Close()
	send := func(name string) ports.Outcome {
		a := attempt("http://" + name + ".example.com:" + inside.port() + "/")
		a.Endpoint, a.KeepAnswer = "tenant_a/"+name, true
		return c.Send(t.Context(), a)
	}
	for _, name := range []string{"good", "alias"} {
		if out := send(name); string(out.Answer) != "reached" {
			t.Errorf("%s: got %+v", name, out)
		}
	}
	refused := []string{"inside", "cname", "six", "many", "metadata", "metadata6", "mapped", "nat64", "unspecified"}
	for _, name := range refused {
		wantOutcome(t, send(name), ports.Retryable, ports.CauseUnreachable)
	}
	wantOutcome(t, send("unknown"), ports.Retryable, ports.CauseUnreachable)
	if n := c.Stats().Webhook.RefusedAddresses; n != int64(len(refused)) {
		t.Errorf("got %d refused addresses, want %d", n, len(refused))
	}
	inside.mustBeQuiet(t)
}

func TestAddressesAreTriedInTurns(t *testing.T) {
	t.Parallel()
	read := func(text string) []netip.Addr {
		var all []netip.Addr
		for one := range strings.FieldsSeq(text) {
			all = append(all, netip.MustParseAddr(one))
		}
		return all
	}
	for given, want := range map[string]string{
		"1.0.0.1":                         "1.0.0.1",
		"1.0.0.1 1.0.0.2 2000::1":         "1.0.0.1 2000::1 1.0.0.2",
		"2000::1 2000::2 2000::3 1.0.0.1": "2000::1 1.0.0.1 2000::2 2000::3",
		"2000::1 1.0.0.1 1.0.0.2 1.0.0.3": "2000::1 1.0.0.1 1.0.0.2 1.0.0.3",
		"::ffff:1.0.0.1 2000::1":          "1.0.0.1 2000::1",
		"1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7": "1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6",
	} {
		if got := outbound.Alternate(read(given)); !slices.Equal(got, read(want)) {
			t.Errorf("%s: got %v, want %s", given, got, want)
		}
	}
}

// dialed is a connection that knows whether it was closed.
type dialed struct {
	net.Conn
	closed chan struct{}
}

func (d *dialed) Close() error { close(d.closed); return nil }

func TestADeadAddressCostsAHeadStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dead, slow := netip.MustParseAddr("2606:4700::1"), netip.MustParseAddr("8.8.4.4")
		loser := &dialed{closed: make(chan struct{})}
		n := &names{answers: map[string][]string{"hooks.example.com": {"2606:4700::1,8.8.8.8", "2606:4700::1,8.8.4.4,8.8.8.8", "2606:4700::1"}}}
		c := outbound.NewScripted(outbound.Config{}, n.lookup, func(ctx context.Context, _ *net.Dialer, to netip.AddrPort) (net.Conn, error) {
			switch to.Addr() {
			case dead:
				<-ctx.Done()
				return nil, ctx.Err()
			case slow: // connects although it has lost
				<-ctx.Done()
				return loser, nil
			}
			return &dialed{closed: make(chan struct{})}, nil
		})
		defer c.Close()
		for _, want := range []time.Duration{outbound.HeadStart, 2 * outbound.HeadStart} {
			begun := time.Now()
			conn, err := c.ConnectFirst(t.Context(), "hooks.example.com:443")
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if took := time.Since(begun); took != want {
				t.Errorf("took %s, want %s", took, want)
			}
		}
		<-loser.closed
		begun := time.Now()
		if _, err := c.ConnectFirst(t.Context(), "hooks.example.com:443"); err == nil || time.Since(begun) != outbound.DialTimeout {
			t.Errorf("got %v after %s, want a failure after %s", err, time.Since(begun), outbound.DialTimeout)
		}
		if n := c.Stats().Connections; n != 0 {
			t.Errorf("%d connections are counted open", n)
		}
	})
}
