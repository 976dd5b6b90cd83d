package llm_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/llm"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// chunks are what the providers send for a token, as they send it.
var chunks = map[domain.Provider]string{
	domain.ProviderOpenAI: `data: {"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion.chunk","created":1741569952,` +
		`"model":"gpt-4.1-2025-04-14","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":` +
		`{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n",
	domain.ProviderAnthropic: "event: content_block_delta\n" +
		`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}` + "\n\n",
}

// BenchmarkAChunk is what an answer costs for each of its tokens, from the bytes of the body to the piece.
func BenchmarkAChunk(b *testing.B) {
	for _, p := range providers {
		b.Run(string(p), func(b *testing.B) {
			b.ReportAllocs()
			body := &tokens{text: chunks[p], left: b.N}
			n := 0
			for piece := range llm.New(canned{body, "text/event-stream"}).Answer(b.Context(), ports.Question{Provider: p}) {
				if piece.Text != "" {
					n++
				}
			}
			if n != b.N {
				b.Fatalf("%d pieces, want %d", n, b.N)
			}
		})
	}
}

// tokens is a body of one chunk a read.
type tokens struct {
	text string
	left int
}

func (t *tokens) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	t.left--
	return copy(p, t.text), nil
}

// BenchmarkALongEventInPieces is an event of 512 KiB that comes 64 bytes at a time.
func BenchmarkALongEventInPieces(b *testing.B) {
	text := `data: {"choices":[{"delta":{"content":"` + strings.Repeat("x", 512<<10) + `"},"finish_reason":"stop"}]}` + "\n\n"
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range llm.New(canned{sixtyFour{strings.NewReader(text)}, ""}).Answer(b.Context(), ports.Question{}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

type sixtyFour struct{ io.Reader }

func (s sixtyFour) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(len(p), 64)]) }

// BenchmarkTheFirstPiece is the time from the moment in which a model writes its first token to its piece, over TCP on
// this machine; "wire" is that of a bare reader of the same body.
func BenchmarkTheFirstPiece(b *testing.B) {
	for _, p := range providers {
		b.Run(string(p), func(b *testing.B) { firstPiece(b, p, false) })
	}
	b.Run("wire", func(b *testing.B) { firstPiece(b, domain.ProviderOpenAI, true) })
}

// opened is an opener that tells when a call has its status.
type opened struct {
	ports.StreamOpener
	tell chan<- struct{}
}

func (o opened) Open(ctx context.Context, c ports.StreamCall) (*ports.Stream, error) {
	s, err := o.StreamOpener.Open(ctx, c)
	o.tell <- struct{}{}
	return s, err
}

func firstPiece(b *testing.B, p domain.Provider, bare bool) {
	var written atomic.Int64
	begun, waiting := time.Now(), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-waiting
		written.Store(int64(time.Since(begun)))
		_, _ = io.WriteString(w, chunks[p])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	plain := &opener{transport: &http.Transport{}}
	defer plain.transport.CloseIdleConnections()
	o := opened{plain, waiting}
	q := ports.Question{Provider: p, BaseURL: server.URL}
	var took []time.Duration
	for b.Loop() {
		var at time.Duration
		if bare {
			s, err := o.Open(b.Context(), ports.StreamCall{URL: server.URL})
			if err != nil {
				b.Fatal(err)
			}
			_, _ = s.Body.Read(make([]byte, 4096))
			at = time.Since(begun)
			s.Body.Close()
		} else {
			for range llm.New(o).Answer(b.Context(), q) {
				at = time.Since(begun)
				break
			}
		}
		took = append(took, at-time.Duration(written.Load()))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
	b.ReportMetric(0, "ns/op")
}
