package blackbox

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// trickle is how little a stalled client's kernel buffers, in bytes, so that the server's own bound is what is tested.
const trickle = 4096

// burst sends n messages of 12 KB to a room and returns the 99th percentile of the time until the reader has each.
func burst(sender *harness.User, reader *harness.Conn, room string, n int) (time.Duration, error) {
	content := harness.Body("%s", strings.Repeat("x", 12_000))
	sent := map[int64]time.Time{}
	var last int64
	for range n {
		at := time.Now()
		m, err := sender.Send(room, content)
		if err != nil {
			return 0, err
		}
		sent[m.Seq], last = at, m.Seq
	}
	if _, err := reader.AwaitMessage(room, last); err != nil {
		return 0, err
	}
	var took []time.Duration
	for _, f := range reader.Frames() {
		if at, ok := sent[f.Seq]; ok && f.Type == "message" && f.RoomID == room {
			took = append(took, f.At.Sub(at))
		}
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}

func TestASocketThatNeverReadsDelaysNobodyAndLaterGetsEverything(t *testing.T) {
	t.Parallel()
	const before, during = 60, 400 // together within one replay
	tenant := tenantOf(t, harness.Options{})
	alice, stalled := tenant.User("alice"), harness.NewFollower(tenant.User("stalled"))
	same := harness.Must(alice.CreateRoom("group", "reader", "stalled"))(t).RoomID
	other := harness.Must(alice.CreateRoom("group", "reader"))(t).RoomID
	reader := connect(t, tenant.User("reader"))

	quiet := harness.Must(burst(alice, reader, same, before))(t)
	harness.Check(t, stalled.OpenWith(harness.DialOptions{Stalled: true, ReadBuffer: trickle}))
	t.Cleanup(stalled.Drop)

	var inSame, inOther time.Duration
	var errSame, errOther error
	var wg sync.WaitGroup
	wg.Go(func() { inSame, errSame = burst(alice, reader, same, during) })
	wg.Go(func() { inOther, errOther = burst(tenant.User("alice"), reader, other, during) })
	wg.Wait()
	harness.Check(t, errors.Join(errSame, errOther))
	t.Logf("p99 to a reader: %s alone, %s beside a stalled socket in its room, %s in another room", quiet, inSame, inOther)
	if slower := max(inSame, inOther); slower > quiet+latencyLimit {
		t.Errorf("p99 beside a stalled socket: got %s, want at most %s", slower, quiet+latencyLimit)
	}
	wantDense(t, reader.Messages(same), 1, before+during)
	wantDense(t, reader.Messages(other), 1, during)

	stalled.Conn().Read()
	catchUp(t, stalled, same, before+during)
}

func TestASocketWhoseWritesStandStillIsClosedAndResumes(t *testing.T) {
	t.Parallel()
	const messages = 300
	tenant := tenantOf(t, harness.Options{})
	alice, stalled := tenant.User("alice"), harness.NewFollower(tenant.User("stalled"))
	room := harness.Must(alice.CreateRoom("group", "reader", "stalled"))(t).RoomID
	reader := connect(t, tenant.User("reader"))
	harness.Check(t, stalled.OpenWith(harness.DialOptions{Stalled: true, ReadBuffer: trickle}))
	t.Cleanup(stalled.Drop)
	harness.Must(burst(alice, reader, room, messages))(t)

	<-time.After(14 * time.Second) // 10 s without progress is the server's limit
	stalled.Conn().Read()
	code := harness.Must(stalled.Conn().CloseCode(30 * time.Second))(t)
	if code != 4408 && code != 1006 { // a full buffer may have no room for the close frame
		t.Errorf("close code: got %d, want 4408, or 1006 when no frame could be written", code)
	}
	if got := stalled.Seq(room); got >= messages {
		t.Errorf("the stalled socket had all %d messages: nothing was tested", got)
	}
	harness.Check(t, stalled.Connect())
	catchUp(t, stalled, room, messages)
}

// catchUp waits until a follower has seen all of a room, reconnecting when the server closed the slow socket.
func catchUp(t *testing.T, f *harness.Follower, room string, last int64) {
	t.Helper()
	const reconnects = 3
	for try := 0; f.Seq(room) < last && try <= reconnects; try++ {
		err := harness.Until(30*time.Second, "a slow socket catches up", func() bool {
			select {
			case <-f.Conn().Finished():
				return true
			default:
				return f.Seq(room) >= last
			}
		})
		harness.Check(t, err)
		if f.Seq(room) < last {
			harness.Check(t, f.Connect())
		}
	}
	wantDense(t, f.Got(room), 1, last)
	for _, v := range f.Violations() {
		t.Error(v)
	}
}
