package outbound_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"pgregory.net/rapid"

	"github.com/chatapi/chatapi/ports"
)

// received is a request as a receiver has it.
type received struct {
	header http.Header
	body   []byte
}

// recorder is a receiver that answers 204 and keeps what came.
func recorder(t testing.TB) (url string, got <-chan received) {
	requests := make(chan received, 100)
	return receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- received{r.Header.Clone(), body}
		w.WriteHeader(http.StatusNoContent)
	}), requests
}

// TestThePublishedVectorComesOut is the example that the libraries of Standard Webhooks share.
func TestThePublishedVectorComesOut(t *testing.T) {
	t.Parallel()
	url, got := recorder(t)
	c := newClient(t, "webhook=127.0.0.1")
	out := c.Send(t.Context(), ports.Attempt{Endpoint: endpoint, URL: url, ID: "msg_p5jXN8AQM9LWM0D4loKWxJek",
		Timestamp: time.Unix(1614265330, 999), Body: []byte(`{"test": 2432232314}`),
		Secrets: []ports.Secret{ports.NewSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}})
	wantOutcome(t, out, ports.Delivered, "")
	r := <-got
	for name, want := range map[string]string{
		"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
		"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "content-type": "application/json",
	} {
		if r.header.Get(name) != want {
			t.Errorf("%s: got %q, want %q", name, r.header.Get(name), want)
		}
	}
}

func TestAReceiverVerifiesWithTheStandardLibraryAndTheOldHeader(t *testing.T) {
	t.Parallel()
	url, got := recorder(t)
	c := newClient(t, "webhook=127.0.0.1")
	a := attempt(url)
	wantOutcome(t, c.Send(t.Context(), a), ports.Delivered, "")
	r := <-got
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := webhook.Verify(r.body, r.header); err != nil {
		t.Error(err)
	}
	if err := webhook.Verify(append(r.body, ' '), r.header); err == nil {
		t.Error("another body verifies")
	}
	key := []byte("\x31\xf2\x90\xf6\xbf\x06\x29\x8a\xab\x4f\x08\xd4\x3c\x3f\x08\x2c\xf6\x48\xa3\x62\xda\x2d\xa4\xb0") // the secret, decoded
	mac := hmac.New(sha256.New, key)
	mac.Write(a.Body)
	if got, want := r.header.Get("X-ChatAPI-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("X-ChatAPI-Signature: got %s, want %s", got, want)
	}
	if !bytes.Equal(r.body, a.Body) {
		t.Errorf("got body %s, want %s", r.body, a.Body)
	}
	want := []string{"Accept-Encoding", "Content-Length", "Content-Type", "User-Agent", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp", "X-Chatapi-Signature"}
	var names []string
	for name := range r.header {
		names = append(names, name)
	}
	if slices.Sort(names); !slices.Equal(names, want) {
		t.Errorf("got headers %v, want %v", names, want)
	}
}

func TestWithTwoSecretsEitherVerifies(t *testing.T) {
	t.Parallel()
	url, got := recorder(t)
	c := newClient(t, "webhook=127.0.0.1")
	a := attempt(url)
	a.Secrets = []ports.Secret{ports.NewSecret("the newest, with its own bytes"), ports.NewSecret(secret)}
	wantOutcome(t, c.Send(t.Context(), a), ports.Delivered, "")
	r := <-got
	newest, _ := standardwebhooks.NewWebhookRaw([]byte("the newest, with its own bytes"))
	older, _ := standardwebhooks.NewWebhook(secret)
	other, _ := standardwebhooks.NewWebhookRaw([]byte("another"))
	if err := newest.Verify(r.body, r.header); err != nil {
		t.Errorf("newest: %v", err)
	}
	if err := older.Verify(r.body, r.header); err != nil {
		t.Errorf("older: %v", err)
	}
	if other.Verify(r.body, r.header) == nil {
		t.Error("another secret verifies")
	}
	if n := len(strings.Split(r.header.Get("webhook-signature"), " ")); n != 2 {
		t.Errorf("got %d signatures, want 2", n)
	}
	mac := hmac.New(sha256.New, []byte("the newest, with its own bytes"))
	mac.Write(a.Body)
	if got, want := r.header.Get("X-ChatAPI-Signature"), "sha256="+hex.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("X-ChatAPI-Signature: got %s, want the newest's, %s", got, want)
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	t.Parallel()
	url, got := recorder(t)
	c := newClient(t, "webhook=127.0.0.1")
	a := attempt(url)
	a.Secrets = nil
	wantOutcome(t, c.Send(t.Context(), a), ports.Delivered, "")
	r := <-got
	if s := r.header.Get("webhook-signature") + r.header.Get("X-ChatAPI-Signature"); s != "" || r.header.Get("webhook-id") != a.ID {
		t.Errorf("got signature %q, id %q", s, r.header.Get("webhook-id"))
	}
}

func TestAnyBodyAndSecretVerify(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(nil)
	defer s.Close()
	c := newClient(t, "webhook=127.0.0.1")
	rapid.Check(t, func(t *rapid.T) {
		body, key := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "body"), rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "secret")
		if bytes.HasPrefix(key, []byte("whsec_")) {
			return
		}
		var verified error
		s.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got, _ := io.ReadAll(r.Body)
			webhook, _ := standardwebhooks.NewWebhookRaw(key)
			verified = webhook.Verify(got, r.Header)
		})
		a := attempt(s.URL)
		a.Body, a.Secrets = body, []ports.Secret{ports.NewSecret(string(key))}
		if out := c.Send(t.Context(), a); out.Result != ports.Delivered || verified != nil {
			t.Fatalf("got %+v, %v", out, verified)
		}
	})
}

func TestWhatCannotBeSignedOrSentIsPermanent(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	c := newClient(t, "webhook=127.0.0.1")
	for _, bad := range []string{"", "whsec_", "whsec_!", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"} {
		a := attempt("http://" + l.addr.String())
		a.Secrets = append(a.Secrets, ports.NewSecret(bad))
		wantOutcome(t, c.Send(t.Context(), a), ports.Permanent, ports.CauseSecret)
		if err := c.CheckSecret("webhook_secret", bad); err == nil || strings.Contains(err.Error(), "MfKQ") {
			t.Errorf("CheckSecret(%q): %v", bad, err)
		}
	}
	for _, bad := range []string{"", "a b", "a\r\nx: y", "é", strings.Repeat("x", 257)} {
		a := attempt("http://" + l.addr.String())
		a.ID = bad
		wantOutcome(t, c.Send(t.Context(), a), ports.Permanent, ports.CauseRequest)
	}
	l.mustBeQuiet(t)
	for _, good := range []string{secret, "plain", "whsec_AA=="} {
		if err := c.CheckSecret("webhook_secret", good); err != nil {
			t.Errorf("CheckSecret(%q): %v", good, err)
		}
	}
}

func TestASecretPrintsAsRedacted(t *testing.T) {
	t.Parallel()
	a := attempt("https://hooks.example.com/")
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if printed := fmt.Sprintf(format, a.Secrets); strings.Contains(printed, "MfKQ") || strings.Contains(printed, "4d664b51") {
			t.Errorf("%s prints %s", format, printed)
		}
	}
	var j journal
	j.logger().Info("attempt", "secret", a.Secrets[0], "secrets", a.Secrets)
	if strings.Contains(j.String(), "MfKQ") || strings.Count(j.String(), "[redacted]") != 2 {
		t.Errorf("logged %s", j.String())
	}
}
