package cluster

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/test/harness"
)

// TestEveryTopologyTellsOneStory plays one conversation on a SQLite file, on Postgres, and on three nodes with Redis behind a
// balancer, and compares what each client was answered and sent, frame by frame. Ids and times alone may differ. The order
// between clients is nobody's promise and is not compared; that of each client's frames is.
func TestEveryTopologyTellsOneStory(t *testing.T) {
	t.Parallel()
	reference := record(t, harness.OnSQLite, nil)
	for _, topology := range []harness.Topology{harness.OnPostgres, harness.Clustered} {
		t.Run(string(topology), func(t *testing.T) {
			t.Parallel()
			got := record(t, topology, reference)
			for _, client := range reference.clients() {
				want, has := reference.lines[client], got.lines[client]
				if diff := cmp.Diff(want, has); diff != "" {
					t.Errorf("what %s was told (-%s +%s):\n%s", client, harness.OnSQLite, topology, diff)
				}
			}
			if len(got.lines) != len(reference.lines) {
				t.Errorf("%d clients were told something, want %d", len(got.lines), len(reference.lines))
			}
		})
	}
	total := 0
	for _, lines := range reference.lines {
		total += len(lines)
	}
	t.Logf("%d answers and frames of %d clients", total, len(reference.lines))
}

// play is the conversation. Each step ends when everybody has been told what it causes.
func (r *scribe) play(t *testing.T) {
	backend, alice, bob, carol := r.as("backend"), r.as("alice"), r.as("bob"), r.as("carol")
	body := harness.Body

	// People and rooms.
	alice.put("/users/alice", `{"name":"Alice","metadata":{"team":"blue"}}`)
	bob.put("/users/bob", `{"name":"Bob"}`)
	bob.put("/users/alice", `{"name":"not mine"}`)
	alice.socket("phone")
	bob.socket("desk")
	group := backend.post("/rooms", `{"type":"group","members":["alice","bob"],"name":"Plans","metadata":{"topic":"picnic"}}`).id("room_id", "group")
	dm := alice.post("/rooms", `{"type":"dm","members":["alice","bob"]}`).id("room_id", "dm")
	alice.post("/rooms", `{"type":"dm","members":["alice","bob"]}`)
	alice.post("/rooms?if_exists=return", `{"type":"dm","members":["alice","bob"]}`)
	open := alice.post("/rooms", `{"type":"channel","members":[],"name":"News"}`).id("room_id", "channel")
	carol.get("/rooms?scope=open")
	carol.get("/rooms/" + open)
	carol.post("/rooms/"+open+"/join", "")
	carol.socket("tablet")
	alice.patch("/rooms/"+group, `{"name":"Picnic","metadata":null}`)
	bob.patch("/rooms/"+group, `{"name":"no admin"}`)
	alice.get("/rooms/" + group + "/members")
	backend.post("/rooms", `{"type":"castle"}`)
	backend.post("/rooms", `{"type":"dm","members":["alice"]}`)

	// Messages, over REST and sockets, some of them twice.
	first := alice.post("/rooms/"+group+"/messages", fmt.Sprintf(`{"content":%q,"client_id":"a-1","meta":{"mood":"good"}}`, body("hello"))).id("message_id", "first")
	alice.post("/rooms/"+group+"/messages", fmt.Sprintf(`{"content":%q,"client_id":"a-1","meta":{"mood":"good"}}`, body("hello")))
	alice.post("/rooms/"+group+"/messages", fmt.Sprintf(`{"content":%q,"client_id":"a-1"}`, body("something else")))
	bob.send("desk", map[string]any{"type": "send_message", "room_id": group, "content": body("over a socket"), "client_id": "b-1"})
	bob.send("desk", map[string]any{"type": "send_message", "room_id": group, "content": body("over a socket"), "client_id": "b-1"})
	bob.send("desk", map[string]any{"type": "send_message", "data": map[string]any{"room_id": group, "content": body("an answer"), "reply_to": first}})
	bob.send("desk", map[string]any{"type": "send_message", "room_id": dm, "content": body("an answer elsewhere"), "reply_to": first})
	bob.send("desk", map[string]any{"type": "send_message", "room_id": group})
	bob.send("desk", map[string]any{"type": "nonsense"})
	carol.send("tablet", map[string]any{"type": "send_message", "room_id": group, "content": body("from outside")})
	second := bob.post("/rooms/"+dm+"/messages", fmt.Sprintf(`{"content":%q}`, body("between us"))).id("message_id", "second")
	alice.post("/rooms/"+open+"/messages", fmt.Sprintf(`{"content":%q}`, body("news of the day")))

	// Whatever creates may be asked twice under a key.
	keyed := alice.with("Idempotency-Key", "key-1")
	keyed.post("/rooms/"+dm+"/messages", fmt.Sprintf(`{"content":%q}`, body("once"))).id("message_id", "keyed")
	keyed.post("/rooms/"+dm+"/messages", fmt.Sprintf(`{"content":%q}`, body("once")))
	keyed.post("/rooms/"+dm+"/messages", fmt.Sprintf(`{"content":%q}`, body("twice")))

	// Changes.
	alice.put("/rooms/"+group+"/messages/"+first, fmt.Sprintf(`{"content":%q,"meta":{"mood":"better"}}`, body("hello, all")))
	bob.put("/rooms/"+group+"/messages/"+first, fmt.Sprintf(`{"content":%q}`, body("not mine")))
	bob.del("/rooms/" + dm + "/messages/" + second)
	alice.put("/rooms/"+dm+"/messages/"+second, fmt.Sprintf(`{"content":%q}`, body("gone")))
	alice.get("/rooms/" + dm + "/messages/" + second)
	alice.get("/rooms/" + group + "/messages?limit=2")
	alice.get("/rooms/" + group + "/messages?before_seq=3&limit=1")
	alice.get("/rooms/" + group + "/changes?after_rev=0&limit=100")
	alice.get("/rooms/" + group + "/messages?limit=0")

	// Marks.
	bob.send("desk", map[string]any{"type": "ack", "room_id": group, "seq": 2})
	bob.send("desk", map[string]any{"type": "ack", "room_id": group, "seq": 200})
	alice.post("/acks", fmt.Sprintf(`{"room_id":%q,"seq":3,"device_id":"phone"}`, group))
	alice.post("/rooms/"+group+"/read", `{"seq":3}`)
	bob.send("desk", map[string]any{"type": "read", "room_id": group, "seq": 3})
	alice.get("/rooms?device_id=phone")
	bob.get("/rooms?device_id=desk")
	bob.get("/rooms?type=dm")

	// Who is there.
	alice.write("phone", map[string]any{"type": "typing.start", "room_id": group})
	alice.write("phone", map[string]any{"type": "typing.stop", "room_id": group})
	alice.get("/presence?user_ids=alice,bob,carol,nobody")

	// Notifications.
	bob.post("/subscriptions", `{"topic":"weather"}`)
	backend.post("/subscriptions", `{"topic":"weather","endpoint":"http://192.0.2.1/hook"}`)
	backend.post("/notify", fmt.Sprintf(`{"topic":"weather","payload":{"text":%q},"targets":{"user_ids":["bob","alice"],"room_id":%q}}`, body("rain"), dm))
	backend.post("/notify", `{"topic":"weather","payload":{},"targets":{}}`)
	alice.confirm("phone")
	bob.confirm("desk")

	// Members.
	alice.post("/rooms/"+group+"/members", `{"user_ids":["carol"]}`)
	alice.post("/rooms/"+group+"/members", `{"user_ids":["carol"]}`)
	alice.patch("/rooms/"+group+"/members/carol", `{"role":"admin"}`)
	carol.get("/rooms/" + group + "/messages?after_seq=2")
	carol.del("/rooms/" + group + "/members/alice")
	alice.get("/rooms/" + group)
	alice.post("/rooms/"+group+"/messages", fmt.Sprintf(`{"content":%q}`, body("let me in")))
	bob.post("/rooms/"+group+"/messages", fmt.Sprintf(`{"content":%q}`, body("she is gone")))
	bob.del("/rooms/" + dm + "/members/alice")

	// Tickets.
	alice.ticketed("by ticket")
	alice.ticketTwice()

	// Away, and back by position.
	bob.drop("desk")
	carol.post("/rooms/"+group+"/messages", fmt.Sprintf(`{"content":%q}`, body("while bob is away")))
	alice.put("/rooms/"+dm+"/messages/"+r.named("keyed"), fmt.Sprintf(`{"content":%q}`, body("once, and edited")))
	bob.resume("desk")
	bob.subscribe("desk", group, 1)

	// A bot.
	bot := backend.post("/bots", fmt.Sprintf(`{"name":"Ada","llm_base_url":%q,"model":"echo?interval=0s","system_prompt":%q}`, r.model.URL, body("You are Ada."))).id("bot_id", "bot")
	backend.post("/bots", `{"name":"Eve","llm_base_url":"http://169.254.169.254/latest","model":"x"}`)
	backend.post("/rooms/"+dm+"/members", fmt.Sprintf(`{"user_id":%q}`, bot))
	backend.post("/rooms/"+group+"/members", fmt.Sprintf(`{"user_id":%q}`, bot))
	bob.asks("/rooms/"+group+"/messages", body("what do you say?"))
	carol.put("/rooms/"+group+"/handoff", `{"mode":"human","assignee":"alice"}`)
	bob.post("/rooms/"+group+"/messages", fmt.Sprintf(`{"content":%q}`, body("to a human")))
	carol.put("/rooms/"+group+"/handoff", `{"mode":"bot"}`)
	bob.asks("/rooms/"+group+"/messages", body("and now?"))
	alice.get("/rooms/" + group + "/messages?limit=100")

	// The end of a room, and of what clients may still ask.
	carol.del("/rooms/" + group)
	bob.get("/rooms/" + group)
	bob.get("/rooms")
	alice.get("/rooms/room_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b")
	r.as("nobody").get("/rooms")
	alice.get("/nothing")
	alice.del("/rooms")
	bob.post("/rooms", `{"type":`)
	backend.get("/admin/dead-letters")
}
