package application

import (
	"fmt"
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// briefEncoder writes the text and nothing else: what the encoding itself costs is its own benchmark's.
type briefEncoder struct{ ports.Encoder }

func (briefEncoder) StreamStart(p domain.StreamPart) ports.Frame {
	return ports.Frame{Bytes: []byte(p.Text)}
}

func (briefEncoder) StreamDelta(_ domain.StreamPart, _ int, delta string) ports.Frame {
	return ports.Frame{Bytes: []byte(delta)}
}

// wideSink takes everything, or no hints.
type wideSink struct{ slow bool }

func (wideSink) Push(ports.Frame) bool   { return true }
func (s wideSink) Hint(ports.Frame) bool { return !s.slow }
func (wideSink) Close(int, string)       {}

// BenchmarkDelta is a word of an answer on its way from the bus to the queues of a room's sockets; with slow ones each
// would be sent a text of its own, and is asked every time whether it takes that.
func BenchmarkDelta(b *testing.B) {
	const word, kept = "word ", 4096 // after so many bytes another answer begins
	for _, c := range []struct{ sockets, slow int }{{1, 0}, {100, 0}, {100, 10}, {1000, 0}} {
		b.Run(fmt.Sprintf("%d sockets, %d slow", c.sockets, c.slow), func(b *testing.B) {
			f, r := &Fanout{enc: briefEncoder{}}, &liveRoom{}
			for n := range c.sockets {
				r.seats = append(r.seats, seat{peer: &Peer{sink: wideSink{slow: n < c.slow}}})
			}
			part := domain.StreamPart{Tenant: "tenant", Bot: "bot", Attempt: 1}
			b.ReportAllocs()
			for n := range b.N {
				if part.Offset == 0 {
					begin := part
					begin.Begin = true
					r.stream(f, newStreamSignal(begin))
				}
				part.Text = word
				r.stream(f, newStreamSignal(part))
				part.Text = ""
				if part.Offset += len(word); part.Offset > kept {
					part.Offset, part.Message = 0, domain.MessageID{byte(n), byte(n >> 8), byte(n >> 16)}
					r.streams = nil
					for i := range r.seats {
						r.seats[i].shown = nil
					}
				}
			}
		})
	}
}
