package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// A run is its node's for as long as runLease after the node's last sign of life. Others look for runs that are nobody's
// often; takenOver leaves them and a busy machine some time.
const (
	runLease  = 30 * time.Second
	takenOver = runLease + 15*time.Second
)

// choir is rooms in each of which a bot speaks for long.
type choir struct {
	server *harness.Server
	tenant *harness.Tenant
	alice  *harness.User
	rooms  []string
	round  int
}

// newChoir makes the rooms on a cluster of three. Each answer has so many words, one a pace.
func newChoir(t *testing.T, rooms, words int, pace time.Duration) *choir {
	t.Helper()
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	c := &choir{server: harness.Start(t, harness.Options{Topology: harness.Clustered, Env: map[string]string{
		"OUTBOUND_ALLOW": "llm=127.0.0.1,webhook=127.0.0.1", "RETRY_INTERVAL": "2s",
		"WS_MAX_CONNECTIONS_PER_USER": "50", // those of a node that was killed count for a while
	}})}
	limits := map[string]any{"rate_limit": 0, "bot_limits": map[string]any{"replies_per_minute": 600}}
	c.tenant = harness.Must(c.server.NewTenantWith("choir", limits))(t)
	c.alice = c.tenant.User("alice")
	for range rooms {
		var bot struct {
			ID string `json:"bot_id"`
		}
		harness.Must(c.tenant.Backend().Call(http.MethodPost, "/bots", map[string]any{
			"name": "Ada", "llm_base_url": model.URL, "model": fmt.Sprintf("answer?tokens=%d&interval=%s", words, pace),
			"system_prompt": harness.Body("You are Ada."),
		}, http.StatusCreated, &bot))(t)
		c.rooms = append(c.rooms, harness.Must(c.alice.CreateRoom("group", bot.ID))(t).RoomID)
	}
	return c
}

// listen opens a socket at each node, as devices that nobody knows yet.
func (c *choir) listen(t *testing.T) map[*harness.Node]*harness.Conn {
	t.Helper()
	c.round++
	conns := map[*harness.Node]*harness.Conn{}
	for i, n := range c.server.Nodes {
		conns[n] = connect(t, c.alice.At(n), "ack", "auto", "device_id", fmt.Sprintf("round%d-node%d", c.round, i+1))
	}
	return conns
}

// speak asks in each room, at one node after another, and waits until every socket was told that each answer begins. It
// returns the rooms of the answers.
func (c *choir) speak(t *testing.T, conns map[*harness.Node]*harness.Conn) (rooms map[string]string) {
	t.Helper()
	rooms = map[string]string{}
	for i, room := range c.rooms {
		asked := harness.Must(c.alice.At(c.server.Nodes[i%len(c.server.Nodes)]).Send(room, harness.Body("Speak")))(t).MessageID
		for _, conn := range conns {
			begun := harness.Must(conn.Await("the beginning of an answer", func(f harness.Frame) bool {
				return f.Type == "message.stream.start" && f.ReplyTo == asked
			}))(t)
			rooms[begun.MessageID] = room
		}
	}
	return rooms
}

// busiest is the node that runs the most bots, and how many those are.
func (c *choir) busiest(t *testing.T) (busiest *harness.Node, runs int) {
	t.Helper()
	for _, n := range c.server.Nodes {
		if v := int(harness.Must(n.Metric("chatapi_bots_running"))(t)); v > runs {
			busiest, runs = n, v
		}
	}
	if busiest == nil {
		t.Fatal("no node runs a bot")
	}
	return busiest, runs
}

// heard is one answer as a socket was told it.
type heard struct {
	text  string
	grown []time.Time // when each byte of the text was told
	over  *harness.Frame
}

func (h *heard) add(text string, at time.Time) {
	h.text += text
	for range len(text) {
		h.grown = append(h.grown, at)
	}
}

// hear reduces what a socket got to answers, and fails on what no order of events may look like: each begins before it goes
// on, has one end, and is no message beside that.
func hear(t *testing.T, c *harness.Conn) map[string]*heard {
	t.Helper()
	all, whole := map[string]*heard{}, map[string]bool{}
	for _, f := range c.Frames() {
		h := all[f.MessageID]
		switch {
		case f.Type == "message.stream.start" && (h == nil || h.over == nil):
			h = &heard{}
			h.add(f.Content, f.At)
			all[f.MessageID] = h
		case f.Type == "message.stream.delta" && h != nil && h.over == nil:
			var part struct {
				Offset int    `json:"offset"`
				Delta  string `json:"delta"`
			}
			harness.Check(t, json.Unmarshal(f.Raw, &part))
			if part.Offset != utf8.RuneCountInString(h.text) {
				t.Errorf("after %d code points came %s", utf8.RuneCountInString(h.text), f.Raw)
			}
			h.add(part.Delta, f.At)
		case isOver(f) && h != nil && h.over == nil:
			h.over = &f
		case strings.HasPrefix(f.Type, "message.stream."):
			t.Errorf("out of place: %s", f.Raw)
		case f.Type == "message" && !f.Redelivered && (h != nil || whole[f.MessageID]):
			t.Errorf("shown before, or twice: %s", f.Raw)
		case f.Type == "message":
			whole[f.MessageID] = true
		}
	}
	return all
}

// awaitOver waits until a socket was told the end of an answer.
func awaitOver(t *testing.T, c *harness.Conn, id string, limit time.Duration) harness.Frame {
	t.Helper()
	return harness.Must(c.AwaitFor(limit, "the end of "+id, func(f harness.Frame) bool {
		return f.MessageID == id && isOver(f)
	}))(t)
}

// wantStored fails unless an answer is stored as a socket was told its end. One that was cut is the beginning of what was
// told before. It returns the age, at the cut, of the oldest part that was told and is not stored.
func (c *choir) wantStored(t *testing.T, at *harness.Node, room, id string, h *heard, cut time.Time) (lost time.Duration) {
	t.Helper()
	var m harness.Message
	harness.Must(c.alice.At(at).Call(http.MethodGet, "/rooms/"+room+"/messages/"+id, nil, http.StatusOK, &m))(t)
	if m.Content != h.over.Content || m.Seq != h.over.Seq {
		t.Errorf("%s: stored is seq %d with %d bytes, told was %s", id, m.Seq, len(m.Content), h.over.Raw)
	}
	if h.over.Type != "message.stream.error" {
		return 0
	}
	if h.over.Code != "INTERRUPTED" || m.Content == "" || !strings.HasPrefix(h.text, m.Content) {
		t.Errorf("%s: ended with %s, stored is %q, told was %q", id, h.over.Code, m.Content, h.text)
	}
	if len(m.Content) < len(h.grown) {
		lost = cut.Sub(h.grown[len(m.Content)])
	}
	return lost
}

// wantOneAnswerEach fails unless each question has one answer.
func (c *choir) wantOneAnswerEach(t *testing.T, at *harness.Node) {
	t.Helper()
	for _, room := range c.rooms {
		answers := map[string]int{}
		for _, m := range harness.Must(c.alice.At(at).History(room, 0, 100))(t) {
			if m.SenderType == "bot" {
				answers[m.ReplyTo]++
			} else {
				answers[m.MessageID] += 0
			}
		}
		for asked, n := range answers {
			if n != 1 {
				t.Errorf("%s has %d answers", asked, n)
			}
		}
	}
}

// TestEveryStreamEndsOnEverySocketWhenItsNodeIsKilled: within the lease, once, with what was told up to a second before.
func TestEveryStreamEndsOnEverySocketWhenItsNodeIsKilled(t *testing.T) {
	t.Parallel()
	const rooms, words, pace, mayBeLost = 4, 400, 25 * time.Millisecond, time.Second
	rounds := harness.Lasting(2, 50)
	c := newChoir(t, rooms, words, pace)
	var latest, lost time.Duration
	for range rounds {
		conns := c.listen(t)
		answers := c.speak(t, conns)
		during(1800 * time.Millisecond)
		victim, runs := c.busiest(t)
		killed := time.Now()
		harness.Check(t, victim.Kill())
		conns[victim].Drop()
		delete(conns, victim)
		for n, conn := range conns {
			for id := range answers {
				latest = max(latest, awaitOver(t, conn, id, takenOver).At.Sub(killed))
			}
			cut := 0
			for id, h := range hear(t, conn) {
				if h.over == nil {
					t.Errorf("%s has no end", id)
					continue
				}
				if h.over.Type == "message.stream.error" {
					cut++
				}
				lost = max(lost, c.wantStored(t, n, answers[id], id, h, killed))
			}
			if cut != runs {
				t.Errorf("at %s %d answers were cut, and the node that was killed ran %d", n.Base, cut, runs)
			}
			c.wantOneAnswerEach(t, n)
			conn.Close()
		}
		harness.Check(t, victim.Start())
		c.server.Balancer.Look()
	}
	t.Logf("the latest end came %s after a kill; what is lost was told %s before it at most", latest.Round(time.Millisecond), lost.Round(time.Millisecond))
	if latest > takenOver {
		t.Errorf("an answer ended %s after the kill, want within %s", latest, takenOver)
	}
	if lost > mayBeLost {
		t.Errorf("what was told %s before a kill is lost, want at most %s", lost, mayBeLost)
	}
}
