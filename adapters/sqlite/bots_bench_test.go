package sqlite_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// BenchmarkAppendWithBots is BenchmarkAppend of 64 senders, in rooms with so many bots, whose runs wait.
func BenchmarkAppendWithBots(b *testing.B) {
	for _, bots := range []int{0, 1, 5} {
		b.Run(fmt.Sprintf("bots=%d", bots), func(b *testing.B) {
			s := withTenant(b)
			rooms := make([]domain.Room, 32)
			for i := range rooms {
				rooms[i], _ = makeBotRoom(b, s, bots)
			}
			b.ResetTimer()
			started, before := time.Now(), cpu()
			inParallel(b, 64, b.N, func(n int) error {
				m := send("alice", content)
				_, err := s.Append(context.Background(), tenant, domain.Intent{Room: rooms[n%32].ID, Sender: "alice"}, m.Decide)
				return err
			})
			b.StopTimer()
			reportPer(b, started, before, "msg")
		})
	}
}

// BenchmarkKeepStream keeps the texts of 32 answers that are on their way side by side.
func BenchmarkKeepStream(b *testing.B) {
	for _, size := range []int{1 << 10, domain.MaxAnswer} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			s := withTenant(b)
			runs, begun := startRuns(b, s, 32)
			text := strings.Repeat("x", size)
			b.ResetTimer()
			started, before := time.Now(), cpu()
			inParallel(b, 32, b.N, func(n int) error {
				return s.Update(context.Background(), tenant, func(tx ports.Tx) error {
					_, err := tx.KeepStream(holdOf(runs[n%32]), begun[n%32].Message, text)
					return err
				})
			})
			b.StopTimer()
			reportPer(b, started, before, "keep")
		})
	}
}

// startRuns asks as many bots, each in a room of its own, and has them begin.
func startRuns(tb testing.TB, s *sqlite.Store, n int) (runs []ports.Claim, begun []domain.Stream) {
	tb.Helper()
	for range n {
		room, _ := makeBotRoom(tb, s, 1)
		appendTo(tb, s, room.ID, send("alice", "hello"))
	}
	runs = claimRuns(tb, s, n)
	for _, c := range runs {
		begun = append(begun, open(tb, s, c))
	}
	return runs, begun
}

// BenchmarkRun is a message, the claim of its run, the beginning of an answer, one keep and the answer, one after the other.
func BenchmarkRun(b *testing.B) {
	s := withTenant(b)
	room, _ := makeBotRoom(b, s, 1)
	b.ResetTimer()
	started, before := time.Now(), cpu()
	for range b.N {
		appendTo(b, s, room.ID, send("alice", "hello"))
		run := claimRuns(b, s, 1)[0]
		begun := open(b, s, run)
		err := s.Update(b.Context(), tenant, func(tx ports.Tx) error {
			_, err := tx.KeepStream(holdOf(run), begun.Message, content)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		answer(b, s, run, begun.Message, content)
	}
	b.StopTimer()
	reportPer(b, started, before, "run")
}
