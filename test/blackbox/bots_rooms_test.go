package blackbox

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// handOver says who answers in a room, and returns the room.
func handOver(t *testing.T, c *harness.Client, room, mode, assignee string) (r harness.Room) {
	t.Helper()
	body := map[string]any{"mode": mode}
	if assignee != "" {
		body["assignee"] = assignee
	}
	harness.Must(c.Call(http.MethodPut, "/rooms/"+room+"/handoff", body, http.StatusOK, &r))(t)
	return r
}

// awaitHandoff waits until a socket is told of a handoff.
func awaitHandoff(t *testing.T, c *harness.Conn, room string, rev int64) harness.Frame {
	t.Helper()
	return harness.Must(c.Await("the handoff", func(f harness.Frame) bool { return f.Type == "room.handoff" && f.RoomID == room && f.Rev == rev }))(t)
}

func TestAHandoffSilencesABotInTheMiddleOfAWord(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	room, _ := h.roomWith(t, "endless?interval=10ms", nil, "bob")
	alice := h.User("alice")
	sockets := []*harness.Conn{connect(t, alice), connect(t, h.User("bob"))}
	message := ask(t, alice, room, "Hello")
	id := awaitPart(t, sockets[0], room, 5)
	rev := handOver(t, alice.Client, room, "human", "carol").LastRev
	carol := connect(t, h.User("carol"))
	for _, c := range sockets {
		told := awaitHandoff(t, c, room, rev)
		if f := finishFields(t, told); f.Mode != "human" || f.Assignee != "carol" {
			t.Errorf("told is %s", told.Raw)
		}
		a := awaitOver(t, c, room, message)
		if a.over.Type != "message.stream.error" || a.over.Code != "HANDED_OFF" || a.over.Seq != 0 || a.over.Content == "" {
			t.Errorf("the answer ends with %s", a.over.Raw)
		}
		wantQuiet(t, c, room, told)
	}
	harness.Must(alice.Call(http.MethodGet, "/rooms/"+room+"/messages/"+id, nil, http.StatusNotFound, nil))(t)
	h.wantModelIdle(t)

	// While people answer nobody else does, and what came then is not made up for.
	asked := len(h.model.Asked())
	ask(t, alice, room, "Is there anybody?")
	handOver(t, alice.Client, room, "bot", "")
	again := ask(t, alice, room, "And now?")
	harness.Must(sockets[1].Await("the bot's next answer", func(f harness.Frame) bool {
		return f.Type == "message.stream.start" && f.ReplyTo == again
	}))(t)
	if got := len(h.model.Asked()); got > asked+1 {
		t.Errorf("the model was asked %d times for one message", got-asked)
	}
	if shown := answers(t, carol, room); len(shown) > 1 {
		t.Errorf("the assignee was shown %d answers, want the last at most", len(shown))
	}
}

// finishFields are the fields of room.handoff.
func finishFields(t *testing.T, f harness.Frame) (fields struct{ Mode, Assignee string }) {
	t.Helper()
	harness.Check(t, (&harness.Response{Body: f.Raw}).Decode(&fields))
	return fields
}

// wantQuiet fails when a socket was sent more of an answer after a handoff, or a message of a bot above it.
func wantQuiet(t *testing.T, c *harness.Conn, room string, handoff harness.Frame) {
	t.Helper()
	after := false
	for _, f := range c.Frames() {
		if f.RoomID != room {
			continue
		}
		after = after || f.Type == "room.handoff" && f.Rev == handoff.Rev
		if after && (f.Type == "message.stream.delta" || f.Type == "message.stream.start") {
			t.Errorf("after the handoff came %s", f.Raw)
		}
		if f.Rev > handoff.Rev && (f.SenderType == "bot" || isOver(f)) {
			t.Errorf("above the handoff's rev %d came %s", handoff.Rev, f.Raw)
		}
	}
}

// TestAHandoffWinsEveryRaceAgainstAnAnswer: wherever in the answer it comes.
func TestAHandoffWinsEveryRaceAgainstAnAnswer(t *testing.T) {
	t.Parallel()
	const races, side = 48, 8 // as many at a time as a tenant has answers
	house := newHouse(t)
	h := house.another(t, map[string]any{"bot_limits": map[string]any{"replies_per_minute": 600}})
	id := h.newBot(t, "answer?tokens=20&interval=5ms", nil)
	var running sync.WaitGroup
	defer running.Wait()
	for at := range side {
		running.Go(func() {
			for i := range races / side {
				h.race(t, id, fmt.Sprintf("%d.%d", at, i))
			}
		})
	}
}

// race hands a room over at a random moment of an answer. It runs beside others.
func (h *house) race(t *testing.T, id, name string) {
	alice := h.User("alice " + name)
	r, err := alice.CreateRoom("group", "bob", id)
	if err != nil {
		t.Error(err)
		return
	}
	room := r.RoomID
	c, err := alice.Dial()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if _, err := c.AwaitType("sync.complete"); err != nil {
		t.Error(err)
		return
	}
	if _, err := alice.Send(room, harness.Body("race")); err != nil {
		t.Error(err)
		return
	}
	<-time.After(rand.N(200 * time.Millisecond))
	var after harness.Room
	if _, err := alice.Call(http.MethodPut, "/rooms/"+room+"/handoff", map[string]any{"mode": "human"}, http.StatusOK, &after); err != nil {
		t.Error(err)
		return
	}
	told, err := c.Await("the handoff", func(f harness.Frame) bool { return f.Type == "room.handoff" && f.RoomID == room })
	if err != nil {
		t.Error(err)
		return
	}
	begun := len(chosen(c, of("message.stream.start", room)))
	if begun > 0 {
		if _, err := c.Await("the end", func(f harness.Frame) bool { return f.RoomID == room && isOver(f) }); err != nil {
			t.Error(err)
		}
	}
	<-time.After(100 * time.Millisecond) // nothing more
	wantQuiet(t, c, room, told)
	history, err := alice.History(room, 0, 100)
	if err != nil {
		t.Error(err)
	}
	for _, m := range history {
		if m.SenderType == "bot" && m.Rev > after.LastRev {
			t.Errorf("a bot's message has rev %d, and the handoff %d", m.Rev, after.LastRev)
		}
	}
}

// TestABotThatIsTakenOutSpeaksNoMore: out of the room, with the bot itself, or with the room.
func TestABotThatIsTakenOutSpeaksNoMore(t *testing.T) {
	t.Parallel()
	house := newHouse(t)
	for name, c := range map[string]struct {
		path func(room, id string) string
		gone bool // the room
	}{
		"out of the room": {func(room, id string) string { return "/rooms/" + room + "/members/" + id }, false},
		"removed":         {func(_, id string) string { return "/bots/" + id }, false},
		"with its room":   {func(room, _ string) string { return "/rooms/" + room }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := house.another(t, nil)
			room, id := h.roomWith(t, "endless?interval=20ms", nil, "bob")
			alice := h.User("alice")
			socket := connect(t, alice)
			message := ask(t, alice, room, "Hello")
			awaitPart(t, socket, room, 3)
			harness.Must(h.Backend().Call(http.MethodDelete, c.path(room, id), nil, http.StatusNoContent, nil))(t)
			if c.gone {
				harness.Must(socket.Await("the end of the room", of("room.removed", room)))(t)
				h.wantModelIdle(t)
				return
			}
			a := awaitOver(t, socket, room, message)
			if a.over.Type != "message.stream.error" || a.over.Code != "REMOVED" || a.over.Seq != 0 {
				t.Errorf("the answer ends with %s", a.over.Raw)
			}
			ask(t, alice, room, "Are you there?")
			<-time.After(500 * time.Millisecond) // it is not
			if all := answers(t, socket, room); len(all) != 1 {
				t.Errorf("%d answers", len(all))
			}
		})
	}
}

func TestABudgetThatIsUsedUpIsSaidSo(t *testing.T) {
	t.Parallel()
	house := newHouse(t)
	over := func(t *testing.T, u *harness.User, c *harness.Conn, room, message string) {
		t.Helper()
		wantError(t, u, awaitOver(t, c, room, message), "BUDGET_EXCEEDED", "", false)
	}
	t.Run("replies a minute, in a room", func(t *testing.T) {
		t.Parallel()
		const script = "answer?tokens=2"
		h := house.another(t, map[string]any{"bot_limits": map[string]any{"replies_per_minute": 2}})
		alice := h.User("alice")
		room, id := h.roomWith(t, script, nil)
		other := harness.Must(alice.CreateRoom("group", id))(t).RoomID
		c := connect(t, alice)
		for i := range 2 {
			wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, fmt.Sprint(i))), scripted.Words(2), "stop")
		}
		over(t, alice, c, room, ask(t, alice, room, "one more"))
		wantEnd(t, alice, awaitOver(t, c, other, ask(t, alice, other, "elsewhere")), scripted.Words(2), "stop")
		if got := len(house.askedFor(script)); got != 3 {
			t.Errorf("the model was asked %d times, want 3", got)
		}
	})
	t.Run("tokens a month, of a tenant", func(t *testing.T) {
		t.Parallel()
		const script = "answer?tokens=5"
		h := house.another(t, map[string]any{"bot_limits": map[string]any{"tokens_per_month": scripted.InputTokens + 5}})
		room, _ := h.roomWith(t, script, nil)
		alice := h.User("alice")
		c := connect(t, alice)
		wantEnd(t, alice, awaitOver(t, c, room, ask(t, alice, room, "first")), scripted.Words(5), "stop")
		over(t, alice, c, room, ask(t, alice, room, "one more"))
		free := house.another(t, nil) // another tenant has its own
		next, _ := free.roomWith(t, script, nil)
		bob := free.User("bob")
		harness.Check(t, free.User("alice").AddMembers(next, "bob"))
		theirs := connect(t, bob)
		wantEnd(t, bob, awaitOver(t, theirs, next, ask(t, bob, next, "theirs")), scripted.Words(5), "stop")

		var told struct {
			Usage struct {
				Months []struct {
					Tokens int64 `json:"tokens"`
				} `json:"months"`
			} `json:"usage"`
		}
		harness.Eventually(t, 30*time.Second, "the tokens among the usage", func() bool {
			harness.Must(h.Server().Operator().Call(http.MethodGet, "/admin/tenants/"+h.ID, nil, http.StatusOK, &told))(t)
			return len(told.Usage.Months) > 0 && told.Usage.Months[0].Tokens == scripted.InputTokens+5
		})
	})
	t.Run("answers at a time, of a tenant", func(t *testing.T) {
		t.Parallel()
		const script, most = "answer?tokens=10&interval=100ms", 2
		h := house.another(t, map[string]any{"bot_limits": map[string]any{"concurrent_runs": most}})
		id := h.newBot(t, script, nil)
		alice := h.User("alice")
		c := connect(t, alice)
		rooms := map[string]string{}
		for i := range 2*most + 1 {
			room := harness.Must(alice.CreateRoom("group", id))(t).RoomID
			rooms[room] = ask(t, alice, room, fmt.Sprint(i))
		}
		for room, message := range rooms { // late, and all of them
			wantEnd(t, alice, awaitOver(t, c, room, message), scripted.Words(10), "stop")
		}
		at, highest := 0, 0
		for _, f := range c.Frames() {
			switch {
			case f.Type == "message.stream.start":
				at++
			case isOver(f):
				at--
			}
			highest = max(highest, at)
		}
		if highest > most {
			t.Errorf("%d answers at a time, want %d at most", highest, most)
		}
	})
}
