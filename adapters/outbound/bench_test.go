package outbound_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/ports"
)

// BenchmarkAttempt makes one attempt at a time: signed and guarded, and by the standard client as it comes. Both keep
// their connection; interleaved says how many times longer the first takes, from rounds in turns within one run.
func BenchmarkAttempt(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer s.Close()
	c := newClient(b, "webhook=127.0.0.1")
	body := bytes.Repeat([]byte("x"), 1024)
	a := attempt(s.URL)
	a.Body = body
	guarded := func() {
		if out := c.Send(context.Background(), a); out.Result != ports.Delivered {
			b.Fatalf("got %+v", out)
		}
	}
	plainClient := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	defer plainClient.CloseIdleConnections()
	plain := func() {
		resp, err := plainClient.Post(s.URL, "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	b.Run("guarded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			guarded()
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			plain()
		}
	})
	b.Run("interleaved", func(b *testing.B) {
		var ours, theirs time.Duration
		for b.Loop() {
			begun := time.Now()
			guarded()
			middle := time.Now()
			plain()
			ours += middle.Sub(begun)
			theirs += time.Since(middle)
		}
		b.ReportMetric(float64(ours)/float64(theirs), "guarded/plain")
	})
}

func BenchmarkCheckURL(b *testing.B) {
	c := outbound.New(outbound.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if err := c.CheckURL(ports.OutboundWebhook, "url", "https://hooks.example.com:8443/tenants/1?x=y"); err != nil {
			b.Fatal(err)
		}
	}
}
