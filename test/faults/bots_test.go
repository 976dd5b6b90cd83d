package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
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
	goesOn    bool               // one of them: nothing of it was kept, and it has begun anew
}

// spoken is one answer as a socket was shown it.
type spoken struct {
	start   harness.Frame // the last, when it has begun anew
	attempt int
	text    string
	settled string      // the part of it that was there a second before the kill
	grown   []time.Time // when each byte of the text was told
	kill    time.Time
	over    *harness.Frame
}

// streamed is what frames of streams have beside what all have.
type streamed struct {
	Attempt int    `json:"attempt"`
	Offset  int    `json:"offset"`
	Delta   string `json:"delta"`
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

// connect opens the next socket.
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
	k.before = k.shown(t, kill)
}

// shown reduces what the socket got to answers, and fails on what no order of events may look like.
func (k *talk) shown(t *testing.T, kill time.Time) map[string]*spoken {
	t.Helper()
	all, whole := map[string]*spoken{}, map[string]bool{}
	for _, f := range k.conn.Frames() {
		a := all[f.MessageID]
		switch {
		case f.Type == "message.stream.start" && (a == nil || a.over == nil):
			b := &spoken{start: f, attempt: part(t, f).Attempt, kill: kill}
			b.add(f.Content, f.At)
			all[f.MessageID] = b
		case f.Type == "message.stream.delta" && a != nil && a.over == nil:
			a.grow(t, f)
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

func part(t *testing.T, f harness.Frame) (p streamed) {
	t.Helper()
	harness.Check(t, json.Unmarshal(f.Raw, &p))
	return p
}

func (a *spoken) grow(t *testing.T, f harness.Frame) {
	t.Helper()
	p := part(t, f)
	if p.Delta == "" || p.Offset != utf8.RuneCountInString(a.text) {
		t.Errorf("after %q came %s", a.text, f.Raw)
	}
	a.add(p.Delta, f.At)
}

func (a *spoken) add(text string, at time.Time) {
	a.text += text
	for range len(text) {
		a.grown = append(a.grown, at)
	}
	if at.Before(a.kill.Add(-settledAfter)) {
		a.settled = a.text
	}
}

// tally is what has become of the answers that kills have cut.
type tally struct {
	cut, kept, anew int
	lost            time.Duration // the age of the oldest of what was told and is not in a message, at the kill
}

// wantEnded fails unless each answer that the socket before was shown has ended as is promised, or goes on.
func (k *talk) wantEnded(t *testing.T, n *tally) {
	t.Helper()
	k.goesOn = false
	for id, a := range k.before {
		if a.over != nil {
			k.wantOver(t, id, a)
			continue
		}
		n.cut++
		m, goesOn := k.became(t, id, a)
		switch {
		case goesOn:
			n.anew++
			k.goesOn = true
			if a.settled != "" {
				t.Errorf("%s: %q was kept, or should have been, and it begins anew", id, a.settled)
			}
		case m == nil && a.settled != "":
			t.Errorf("%s: %q is gone", id, a.settled)
		case m != nil:
			n.kept++
			if !strings.HasPrefix(m.Content, a.settled) {
				t.Errorf("%s: stored is %q, want %q and what followed", id, m.Content, a.settled)
			}
			if had := len(m.Content); had < len(a.grown) {
				n.lost = max(n.lost, a.kill.Sub(a.grown[had]))
			}
			k.wantWell(t, *m)
		}
	}
}

// wantOver fails unless an answer of which a socket was told the end is stored like that.
func (k *talk) wantOver(t *testing.T, id string, a *spoken) {
	t.Helper()
	m := k.stored(t, id)
	if (m != nil) != (a.over.Seq > 0) || m != nil && (m.Content != a.over.Content || m.Seq != a.over.Seq) {
		t.Errorf("the end was %s, stored is %+v", a.over.Raw, m)
	}
}

func (k *talk) stored(t *testing.T, id string) *harness.Message {
	t.Helper()
	var m harness.Message
	res := harness.Must(k.Do(t.Context(), http.MethodGet, "/rooms/"+k.room+"/messages/"+id, nil))(t)
	if res.Status != http.StatusOK {
		return nil
	}
	harness.Check(t, res.Decode(&m))
	return &m
}

// became waits for what becomes of an answer that was cut: an ordinary message, a next attempt, or after the third
// nothing. That nothing is known of an id to be stopped tells that it is not under way.
func (k *talk) became(t *testing.T, id string, a *spoken) (m *harness.Message, goesOn bool) {
	t.Helper()
	const attempts, patience = 3, 5 * time.Second
	limit := patience
	if a.attempt == attempts && a.settled == "" {
		limit = patience / 10
	}
	f, err := k.conn.AwaitFor(limit, "what becomes of "+id, func(f harness.Frame) bool {
		return f.MessageID == id && (f.Type == "message" || f.Type == "message.stream.start")
	})
	switch {
	case err != nil:
		path := "/rooms/" + k.room + "/messages/" + id + "/stop"
		harness.Must(k.Call(http.MethodPost, path, nil, http.StatusNotFound, nil))(t)
		return nil, false
	case f.Type == "message":
		if m = k.stored(t, id); m == nil || m.Content != f.Content || m.Seq != f.Seq {
			t.Errorf("stored is %+v, told was %s", m, f.Raw)
		}
		return m, false
	}
	if again := part(t, f).Attempt; again <= a.attempt || f.ReplyTo != a.start.ReplyTo {
		t.Errorf("after %s came %s", a.start.Raw, f.Raw)
	}
	return nil, true
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

// TestEveryStreamEndsAfterTwentyKills: ten rooms in which a bot speaks whenever the server is killed, and two in which short
// answers begin and end all the time.
func TestEveryStreamEndsAfterTwentyKills(t *testing.T) {
	t.Parallel()
	const tenants, long = 2, 5
	kills := harness.Lasting(20, 200)
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
	var n tally
	for range kills {
		silent := slices.DeleteFunc(slices.Clone(slow), func(k *talk) bool { return k.goesOn })
		asked := ask(t, silent)
		for _, k := range silent {
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
			k.wantEnded(t, &n)
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
	harness.Eventually(t, 30*time.Second, "no answer is under way, none is owed", func() bool {
		return harness.Must(s.Metric("chatapi_bots_running"))(t)+harness.Must(s.Metric("chatapi_outbox_bot_jobs"))(t) == 0
	})
	t.Logf("of %d answers that were cut %d are messages, %d have begun anew; what is lost of messages was told %s before a kill at most",
		n.cut, n.kept, n.anew, n.lost.Round(time.Millisecond))
	if n.cut < kills*len(slow)*9/10 || n.kept < n.cut/3 {
		t.Errorf("too little happened: %+v", n)
	}
}
