package faults

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// TestASocketThatNeverReadsHoldsUpNoAnswer: the model speaks on, others hear it, and reading again it is told how the answer
// ended, once.
func TestASocketThatNeverReadsHoldsUpNoAnswer(t *testing.T) {
	t.Parallel()
	const words, pace, late = 500, 10 * time.Millisecond, 8 * time.Second // beside all other tests
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	s := harness.Start(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "llm=127.0.0.1"}})
	c := botRooms(t, s, model, 1, fmt.Sprintf("answer?tokens=%d&interval=%s", words, pace))
	alice, room := c.User("alice"), c.rooms[0]
	reader := harness.Must(newEar(alice, "ack", "auto"))(t)
	defer reader.Drop()
	harness.Must(reader.AwaitType("sync.complete"))(t)
	const trickle = 4096 // the kernel of a stalled client buffers no more
	stalled := &ear{streams: map[string]*heardStream{}, messages: map[string]int{}}
	stalled.Conn = harness.Must(c.User("bob").DialWith(harness.DialOptions{
		Stalled: true, ReadBuffer: trickle, OnFrame: stalled.hear, Query: url.Values{"ack": {"auto"}},
	}))(t)
	defer stalled.Drop()

	begun := time.Now()
	c.ask(t)
	large := harness.Body("%s", strings.Repeat("x", 12_000))
	for range 200 { // more than the server keeps for a socket
		harness.Must(alice.Send(room, large))(t)
	}
	var answer string
	over := func(e *ear) (ended, told int) {
		for _, h := range e.heard() {
			if h.over == "message.stream.end" && h.replyTo == c.asked[room] && h.content == scripted.Words(words) {
				ended, answer = ended+1, h.id
			}
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		return ended, e.messages[answer]
	}
	harness.Eventually(t, 30*time.Second, "the answer ends", func() bool { ended, _ := over(reader); return ended == 1 })
	if took := time.Since(begun); took > words*pace+late {
		t.Errorf("beside a socket that takes nothing the answer took %s, the model %s", took, words*pace)
	}
	stalled.Read()
	harness.Eventually(t, 30*time.Second, "the stalled socket is told of the answer", func() bool {
		ended, told := over(stalled)
		return ended+told == 1
	})
	for _, e := range []*ear{reader, stalled} {
		e.mu.Lock()
		for _, fault := range e.faults {
			t.Error(fault)
		}
		e.mu.Unlock()
	}
}
