package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// talk is a room in which a user asks a bot.
type talk struct {
	*harness.User
	room, bot string
	tokens    int // of each answer
	conn      *harness.Conn
	before    map[string]*spoken // what the socket before this one was shown
	kill      time.Time          // when it was lost
}

// spoken is one answer as a socket was shown it.
type spoken struct {
	start   harness.Frame
	text    string
	settled string // the part of it that was there a second before the kill
	parts   []harness.Frame
	over    *harness.Frame
}

// said is what a bot's message tells of its end.
type said struct {
	Reason string `json:"finish_reason"`
	Error  string `json:"error"`
}

const settledAfter = time.Second // of an answer no more than this may be lost

// newTalk makes a user, a bot that says so many words, one an interval, and their room.
func newTalk(t *testing.T, tenant *harness.Tenant, model *scripted.Server, user string, tokens int, interval time.Duration) *talk {
	t.Helper()
	k := &talk{User: tenant.User(user), tokens: tokens}
	var made struct {
		ID string `json:"bot_id"`
	}
	harness.Must(tenant.Backend().Call(http.MethodPost, "/bots", map[string]any{
		"name": "Ada", "llm_base_url": model.URL, "model": fmt.Sprintf("answer?tokens=%d&interval=%s", tokens, interval),
		"system_prompt": harness.Body("You are Ada."), "context_messages": 5,
	}, http.StatusCreated, &made))(t)
	k.bot = made.ID
	k.room = harness.Must(k.CreateRoom("group", k.bot))(t).RoomID
	return k
}

// connect opens the next socket. The answers that the one before was shown have ended, and come as ordinary messages or
// not at all.
func (k *talk) connect(t *testing.T) {
	t.Helper()
	k.conn = harness.Must(k.Dial())(t)
	t.Cleanup(k.conn.Drop)
	harness.Must(k.conn.AwaitType("sync.complete"))(t)
}

// lose drops the socket of a server that was killed, and keeps what it was shown.
func (k *talk) lose(t *testing.T, kill time.Time) {
	t.Helper()
	k.conn.Drop()
	k.kill, k.before = kill, k.shown(t, kill)
}

// shown reduces what the socket got to answers, and fails on what no order of events may look like.
func (k *talk) shown(t *testing.T, kill time.Time) map[string]*spoken {
	t.Helper()
	all, whole := map[string]*spoken{}, map[string]bool{}
	for _, f := range k.conn.Frames() {
		a := all[f.MessageID]
		switch {
		case f.Type == "message.stream.start" && (a == nil || a.over == nil):
			all[f.MessageID] = &spoken{start: f, text: f.Content}
		case f.Type == "message.stream.delta" && a != nil && a.over == nil:
			a.grow(t, f, kill)
		case (f.Type == "message.stream.end" || f.Type == "message.stream.error") && a != nil && a.over == nil:
			a.over = &f
		case strings.HasPrefix(f.Type, "message.stream."):
			t.Errorf("out of place: %s", f.Raw)
		case f.Type == "message" && !f.Redelivered && (a != nil || whole[f.MessageID]):
			t.Errorf("shown before, or twice: %s", f.Raw)
		case f.Type == "message":
			whole[f.MessageID] = true
		}
	}
	return all
}

func (a *spoken) grow(t *testing.T, f harness.Frame, kill time.Time) {
	t.Helper()
	var part struct {
		Offset int    `json:"offset"`
		Delta  string `json:"delta"`
	}
	harness.Check(t, json.Unmarshal(f.Raw, &part))
	if part.Delta == "" || part.Offset != utf8.RuneCountInString(a.text) {
		t.Errorf("after %q came %s", a.text, f.Raw)
	}
	a.text += part.Delta
	a.parts = append(a.parts, f)
	if f.At.Before(kill.Add(-settledAfter)) {
		a.settled = a.text
	}
}

// wantEnded fails unless each answer that the socket before was shown ends now, as is promised. It counts those that the
// kill has cut, and those of which there is a message.
func (k *talk) wantEnded(t *testing.T) (cut, kept int) {
	t.Helper()
	for id, a := range k.before {
		m, stored := k.ended(t, id)
		if a.over == nil {
			cut++
			kept += count(stored)
		}
		switch {
		case a.over != nil && stored != (a.over.Seq > 0), a.over != nil && stored && (m.Content != a.over.Content || m.Seq != a.over.Seq):
			t.Errorf("the end was %s, stored is %v %+v", a.over.Raw, stored, m)
		case a.over == nil && !stored && a.settled != "":
			t.Errorf("%q of %s is gone", a.settled, id)
		case !stored:
			continue
		case !strings.HasPrefix(m.Content, a.settled):
			t.Errorf("%s: stored is %q, want %q and what followed", id, m.Content, a.settled)
		}
		k.wantWell(t, m)
		harness.Must(k.conn.Await("the message of "+id, func(f harness.Frame) bool { return f.Type == "message" && f.MessageID == id }))(t)
	}
	return cut, kept
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// ended waits until an answer has ended, and returns its message if there is one. That nothing is known of an id to be
// stopped tells that it is not under way.
func (k *talk) ended(t *testing.T, id string) (m harness.Message, stored bool) {
	t.Helper()
	path := "/rooms/" + k.room + "/messages/" + id
	status := func(method, path string) *harness.Response {
		return harness.Must(k.Do(t.Context(), method, path, nil))(t)
	}
	harness.Eventually(t, 10*time.Second, "an end of "+id, func() bool {
		res := status(http.MethodGet, path)
		if stored = res.Status == http.StatusOK; stored {
			harness.Check(t, res.Decode(&m))
		}
		return stored || status(http.MethodPost, path+"/stop").Status == http.StatusNotFound
	})
	return m, stored
}

// wantWell fails unless a bot's message is all that its model has said, or the beginning of it and says so.
func (k *talk) wantWell(t *testing.T, m harness.Message) {
	t.Helper()
	var end said
	harness.Check(t, json.Unmarshal(m.Meta, &end))
	whole := scripted.Words(k.tokens)
	switch {
	case end == said{"stop", ""} && m.Content == whole:
	case end == said{"error", "INTERRUPTED"} && m.Content != "" && strings.HasPrefix(whole, m.Content):
	default:
		t.Errorf("%s says %q with meta %s", m.MessageID, m.Content, m.Meta)
	}
}

// wantOneAnswerEach fails unless each message of a room is there once, and no question has more than one answer.
func (k *talk) wantOneAnswerEach(t *testing.T) {
	t.Helper()
	ids, answered := map[string]bool{}, map[string]bool{}
	for i, m := range harness.Must(k.History(k.room, 0, 100))(t) {
		if m.Seq != int64(i)+1 || ids[m.MessageID] {
			t.Errorf("%s: message %d is %s, seq %d", k.ID, i+1, m.MessageID, m.Seq)
		}
		ids[m.MessageID] = true
		if m.SenderType != "bot" {
			continue
		}
		if answered[m.ReplyTo] || !ids[m.ReplyTo] {
			t.Errorf("%s answers %s, which was answered: %v", m.MessageID, m.ReplyTo, answered[m.ReplyTo])
		}
		answered[m.ReplyTo] = true
		k.wantWell(t, m)
	}
}

// ask sends one message in each room, and returns their ids.
func ask(t *testing.T, talks []*talk) map[*talk]string {
	t.Helper()
	asked := map[*talk]string{}
	for _, k := range talks {
		asked[k] = harness.Must(k.Send(k.room, harness.Body("speak")))(t).MessageID
	}
	return asked
}

// wantAnswered fails unless a question gets the answer that it should.
func (k *talk) wantAnswered(t *testing.T, asked string) {
	t.Helper()
	begun := map[string]bool{}
	f := harness.Must(k.conn.Await("the answer to the last question", func(f harness.Frame) bool {
		if f.Type == "message.stream.start" && f.ReplyTo == asked {
			begun[f.MessageID] = true
		}
		return begun[f.MessageID] && (f.Type == "message.stream.end" || f.Type == "message.stream.error")
	}))(t)
	if f.Type != "message.stream.end" || f.Content != scripted.Words(k.tokens) {
		t.Errorf("the last answer ended with %s", f.Raw)
	}
}

// chat asks one thing after another, whether the server is there or not.
func (k *talk) chat(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		_, _ = k.Send(k.room, harness.Body("%d", i))
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(600 * time.Millisecond)):
		}
	}
}

// lateness is the age that the oldest lost part of a room's answers had at the kill.
func (k *talk) lateness(t *testing.T) (oldest time.Duration) {
	t.Helper()
	for id, a := range k.before {
		if a.over != nil {
			continue
		}
		m, _ := k.ended(t, id)
		text := a.start.Content
		for _, f := range a.parts {
			var part struct{ Delta string }
			harness.Check(t, json.Unmarshal(f.Raw, &part))
			if text += part.Delta; len(text) > len(m.Content) {
				oldest = max(oldest, k.kill.Sub(f.At))
				break
			}
		}
	}
	return oldest
}

// TestEveryStreamEndsAfterTwentyKills: ten rooms in which a bot speaks whenever the server is killed, and two in which short
// answers begin and end all the time.
func TestEveryStreamEndsAfterTwentyKills(t *testing.T) {
	t.Parallel()
	const kills, tenants, long = 20, 2, 5
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	s := harness.Start(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "llm=127.0.0.1"}})
	ctx, stop := context.WithCancel(t.Context())
	chatting := make(chan struct{}, tenants)
	defer stop()
	var slow, all []*talk
	for range tenants { // one alone may not have so many answers at a time
		limits := map[string]any{"replies_per_minute": 600}
		tenant := harness.Must(s.NewTenantWith("streams", map[string]any{"rate_limit": 0, "bot_limits": limits}))(t)
		for i := range long {
			interval := 20*time.Millisecond + time.Duration(i)*7*time.Millisecond
			slow = append(slow, newTalk(t, tenant, model, fmt.Sprint("user", i), int(4*time.Second/interval), interval))
		}
		short := newTalk(t, tenant, model, "chatter", 10, 20*time.Millisecond)
		all = append(all, short)
		go func() { short.chat(ctx); chatting <- struct{}{} }()
	}
	all = append(slow, all...)
	for _, k := range all {
		k.connect(t)
	}
	cut, kept, lost := 0, 0, time.Duration(0)
	for range kills {
		asked := ask(t, slow)
		for _, k := range slow {
			harness.Must(k.conn.Await("an answer to what is asked now", func(f harness.Frame) bool {
				return f.Type == "message.stream.start" && f.ReplyTo == asked[k]
			}))(t)
		}
		<-time.After(rand.N(1800 * time.Millisecond))
		kill := time.Now()
		harness.Check(t, s.Kill())
		for _, k := range all {
			k.lose(t, kill)
		}
		harness.Check(t, s.Start())
		for _, k := range all {
			k.connect(t)
			c, m := k.wantEnded(t)
			cut, kept, lost = cut+c, kept+m, max(lost, k.lateness(t))
		}
	}
	stop()
	for range tenants {
		<-chatting
	}
	last := ask(t, all)
	for _, k := range all {
		k.wantAnswered(t, last[k])
		k.shown(t, time.Now())
		k.wantOneAnswerEach(t)
	}
	harness.Eventually(t, 5*time.Second, "no answer is under way, none is owed", func() bool {
		return harness.Must(s.Metric("chatapi_bots_running"))(t)+harness.Must(s.Metric("chatapi_outbox_bot_jobs"))(t) == 0
	})
	t.Logf("%d answers were cut, %d of them are messages; what is lost was said %s before a kill at most", cut, kept, lost.Round(time.Millisecond))
	if cut < kills*len(slow)*9/10 || kept < cut/2 {
		t.Errorf("too little happened: %d answers were cut, %d of them are messages", cut, kept)
	}
}
