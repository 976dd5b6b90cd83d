package outbound_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

// TestNothingOfACallIsToldToAnybody puts canaries into all that a call carries and gets back, lets it fail in every way,
// and looks for them in outcomes, errors, health and the operator's log.
func TestNothingOfACallIsToldToAnybody(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	failing := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Canary", canary)
		w.Header().Set("Location", "https://example.com/"+canary)
		http.Error(w, canary, http.StatusInternalServerError)
	})
	garbage := hostile(t, canary+"\r\n\r\n", "", false)
	header := hostile(t, "HTTP/1.1 200 OK\r\n"+canary+"\r\n\r\n", "", false)
	chunk := hostile(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+canary+"\r\n", "", false)
	length := hostile(t, "HTTP/1.1 200 OK\r\nContent-Length: "+canary+"\r\n\r\n", "", false)
	encoding := hostile(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: "+canary+"\r\n\r\n", "", false)
	gone := listen(t, "127.0.0.1:0")
	gone.Close()
	var log journal
	n := &names{answers: map[string][]string{"inside.example.com": {"10.9.8.7"}}}
	c := outbound.NewScripted(outbound.Config{Allow: allow(t, "webhook=127.0.0.1", "llm=127.0.0.1"), Log: log.logger()}, n.lookup, nil)
	defer c.Close()
	var told strings.Builder
	bases := []string{failing, garbage, header, chunk, length, encoding, "http://" + gone.addr.String(), "https://inside.example.com", "https://nowhere.example.com",
		strings.Replace(failing, "http://", "https://", 1), "https://user:canary@example.com", "https://127.9.9.9", "ftp://example.com", "https://exa mple.com", "https://example.com:canary"}
	for i, base := range bases {
		url := base + "/" + canary + "?token=" + canary
		a := attempt(url)
		a.Endpoint, a.ID, a.Body = fmt.Sprint("tenant_a/", i), canary, []byte(canary)
		a.Secrets = []ports.Secret{ports.NewSecret(canary)}
		fmt.Fprintf(&told, "%+v\n", c.Send(t.Context(), a))
		fmt.Fprintf(&told, "%+v\n", c.Health(ports.OutboundWebhook, a.Endpoint))
		fmt.Fprintf(&told, "%v\n", c.CheckURL(ports.OutboundWebhook, "url", url))
		s, err := c.Open(t.Context(), ports.StreamCall{Endpoint: a.Endpoint, URL: url, Body: a.Body, Header: map[string]string{"Authorization": canary}})
		if err == nil {
			_, err = s.Body.Read(make([]byte, 100))
			s.Body.Close()
		}
		fmt.Fprintf(&told, "%v %#v\n", err, err)
		var failed *ports.CallError
		if errors.As(err, &failed) {
			fmt.Fprintf(&told, "%+v\n", failed.Outcome)
		}
	}
	for what, text := range map[string]string{"tenants": told.String(), "the operator": log.String()} {
		if at := strings.Index(text, canary); at >= 0 {
			t.Errorf("%s are told: …%s…", what, text[max(0, at-200):min(len(text), at+100)])
		}
	}
	if strings.Contains(told.String(), "10.9.8.7") || strings.Contains(told.String(), "127.0.0.1:") {
		t.Errorf("tenants learn addresses: %s", told.String())
	}
	for _, want := range []string{"10.9.8.7", "private use", "nowhere.example.com", "refused", "tenant_a/7", "connection failed"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the operator is not told %q: %s", want, log.String())
		}
	}
	if n := strings.Count(log.String(), "outbound call failed"); n < len(bases) {
		t.Errorf("%d lines for %d failed calls", n, len(bases))
	}
}
