package cluster

import (
	"net/http"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
	"github.com/chatapi/chatapi/test/model/scripted"
)

// stage is a room with a bot that speaks for long, and who hears it at which node.
type stage struct {
	nodes []*harness.Node
	alice *harness.User
	room  string
	conns []*harness.Conn // of alice's, at each node
}

func newStage(t *testing.T) *stage {
	t.Helper()
	model := harness.Must(scripted.Start("127.0.0.1:0"))(t)
	t.Cleanup(model.Close)
	tenant, nodes := nodesOf(t, harness.Options{Env: map[string]string{"OUTBOUND_ALLOW": "llm=127.0.0.1"}})
	var bot struct {
		ID string `json:"bot_id"`
	}
	body := map[string]any{
		"name": "Ada", "llm_base_url": model.URL, "model": "answer?tokens=1000&interval=30ms", "system_prompt": harness.Body("You are Ada."),
	}
	harness.Must(tenant.Backend().Call(http.MethodPost, "/bots", body, http.StatusCreated, &bot))(t)
	st := &stage{nodes: nodes, alice: tenant.User("alice")}
	st.room = harness.Must(st.alice.CreateRoom("group", "bob", bot.ID))(t).RoomID
	st.conns = everywhere(t, st.alice, nodes)
	return st
}

// speaks has the bot begin, and returns its message and a node at which it does not run.
func (st *stage) speaks(t *testing.T) (message string, elsewhere *harness.Node) {
	t.Helper()
	asked := harness.Must(st.alice.Send(st.room, harness.Body("Tell me everything")))(t).MessageID
	for _, c := range st.conns {
		begun := harness.Must(c.Await("the beginning of the answer", func(f harness.Frame) bool {
			return f.Type == "message.stream.start" && f.ReplyTo == asked
		}))(t)
		message = begun.MessageID
		harness.Must(c.Await("a part of the answer", func(f harness.Frame) bool {
			return f.Type == "message.stream.delta" && f.MessageID == message
		}))(t)
	}
	for _, n := range st.nodes {
		if harness.Must(n.Metric("chatapi_bots_running"))(t) == 0 {
			return message, n
		}
	}
	t.Fatal("the bot runs on every node")
	return "", nil
}

// awaitOver waits until each socket was told the end of an answer, and fails when a part follows it.
func (st *stage) awaitOver(t *testing.T, message string, within time.Duration, asked time.Time) {
	t.Helper()
	for i, c := range st.conns {
		over := harness.Must(c.Await("the end of the answer", func(f harness.Frame) bool {
			return f.MessageID == message && (f.Type == "message.stream.end" || f.Type == "message.stream.error")
		}))(t)
		took := over.At.Sub(asked)
		t.Logf("told at node %d after %s", i+1, took.Round(time.Millisecond))
		if took > within {
			t.Errorf("the answer ended at node %d after %s, want within %s", i+1, took, within)
		}
	}
}

func TestAnAnswerIsStoppedFromAnotherNodeWithinASecond(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	message, elsewhere := st.speaks(t)
	asked := time.Now()
	path := "/rooms/" + st.room + "/messages/" + message + "/stop"
	res := harness.Must(st.alice.At(elsewhere).Do(t.Context(), http.MethodPost, path, nil))(t)
	if res.Status/100 != 2 {
		t.Fatalf("stop: %d %s", res.Status, res.Body)
	}
	st.awaitOver(t, message, time.Second, asked)
	// The next is answered as if nothing had been.
	st.speaks(t)
}

func TestAHandoffOfAnotherNodeSilencesTheBotOnAll(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	message, elsewhere := st.speaks(t)
	var room harness.Room
	body := map[string]any{"mode": "human", "assignee": "bob"}
	harness.Must(st.alice.At(elsewhere).Call(http.MethodPut, "/rooms/"+st.room+"/handoff", body, http.StatusOK, &room))(t)
	for i, c := range st.conns {
		handoff := harness.Must(c.Await("the handoff", func(f harness.Frame) bool { return f.Type == "room.handoff" && f.RoomID == st.room }))(t)
		harness.Must(c.Await("the end of the answer", func(f harness.Frame) bool {
			return f.MessageID == message && (f.Type == "message.stream.end" || f.Type == "message.stream.error")
		}))(t)
		<-time.After(300 * time.Millisecond) // ten parts long
		after := false
		for _, f := range c.Frames() {
			if after && f.Type == "message.stream.delta" {
				t.Errorf("after the handoff came at node %d %s", i+1, f.Raw)
			}
			if f.Rev > handoff.Rev && f.SenderType == "bot" {
				t.Errorf("above the handoff's rev %d came at node %d %s", handoff.Rev, i+1, f.Raw)
			}
			after = after || f.Type == "room.handoff"
		}
	}
	for _, m := range harness.Must(st.alice.History(st.room, 0, 100))(t) {
		if m.SenderType == "bot" && m.Rev > room.LastRev {
			t.Errorf("the bot's message has rev %d, the handoff %d", m.Rev, room.LastRev)
		}
	}
}
