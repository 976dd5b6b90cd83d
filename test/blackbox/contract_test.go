package blackbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// The contract as tables: contract_calls_test.go has the calls of REST, contract_frames_test.go the frames of sockets.
// Each line says what every kind of actor is answered, and what the log of the room gains by it. Here is who walks them.

// The actors of a room: alice made it and is its admin; bob, and carol who watches, are members; eve is of the same
// tenant and not in it; mallory is of another tenant.
const (
	backend = iota
	admin
	member
	stranger
	foreign
	actors
)

var actorNames = [actors]string{"backend", "admin", "member", "stranger", "foreign"}

var actorUsers = [actors]string{"", "alice", "bob", "eve", "mallory"}

// the ways in which an actor may prove who it is.
const (
	byKey = iota
	byToken
)

var wayNames = []string{"with the API key", "with a token"}

// stage is where one line of a table is walked: two tenants and a room that somebody watches.
type stage struct {
	tenant  *harness.Tenant
	signer  *harness.Signer
	others  *harness.Tenant
	theirs  *harness.Signer
	alice   *harness.User
	bob     *harness.User
	witness *harness.Conn // carol's
	address string        // where all calls come from; empty is the true one
}

// stageOn is a stage with tenants of its own on a server, so that lines can be walked side by side.
func stageOn(t *testing.T, s *harness.Server) *stage {
	t.Helper()
	config := map[string]any{"rate_limit": 0, "user_topics": []string{"open"}}
	g := &stage{tenant: harness.Must(s.NewTenantWith("ours", config))(t), others: harness.Must(s.NewTenantWith("theirs", config))(t)}
	g.signer, g.theirs = harness.Must(g.tenant.NewSigner())(t), harness.Must(g.others.NewSigner())(t)
	g.alice, g.bob = g.tenant.User("alice"), g.tenant.User("bob")
	for _, user := range []string{"alice", "bob", "carol", "eve"} { // users exist from first sight
		harness.Must(g.tenant.User(user).Call(http.MethodPut, "/users/"+user, `{}`, 200, nil))(t)
	}
	g.witness = connect(t, g.tenant.User("carol"))
	return g
}

// from is a client as the server sees it behind a proxy: with the address of the stage.
func (g *stage) from(c *harness.Client) *harness.Client { return c.With("X-Forwarded-For", g.address) }

// actor is one of the actors, as it calls in a way; nil when there is no such way.
func (g *stage) actor(t *testing.T, who, way int) *harness.User {
	t.Helper()
	u := g.prove(t, who, way)
	if u != nil {
		u.Client = g.from(u.Client)
	}
	return u
}

func (g *stage) prove(t *testing.T, who, way int) *harness.User {
	t.Helper()
	tenant, signer := g.tenant, g.signer
	if who == foreign {
		tenant, signer = g.others, g.theirs
	}
	switch {
	case who == backend && way == byToken:
		return nil
	case who == backend:
		return &harness.User{Client: tenant.Backend()}
	case way == byKey:
		return tenant.User(actorUsers[who])
	}
	return harness.Must(signer.User(actorUsers[who]))(t)
}

// The names of ids that stand for nothing.
const (
	noRoom    = "room_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
	noMessage = "msg_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
	noSub     = "sub_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
	noLetter  = "dead_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
	noBot     = "bot_0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
)

// set makes what a line names in braces, anew for each actor, and returns the ids by name.
func (g *stage) set(t *testing.T, line string) map[string]string {
	t.Helper()
	ids := map[string]string{
		"{no_room}": noRoom, "{no_message}": noMessage, "{no_sub}": noSub, "{no_letter}": noLetter, "{no_bot}": noBot,
	}
	for _, kind := range []string{"group", "channel"} {
		if strings.Contains(line, "{"+kind+"}") {
			ids["{"+kind+"}"] = harness.Must(g.alice.CreateRoom(kind, "bob", "carol"))(t).RoomID
		}
	}
	if strings.Contains(line, "{dm}") {
		var dm harness.Room
		res := harness.Must(g.alice.Do(t.Context(), http.MethodPost, "/rooms?if_exists=return", `{"type":"dm","members":["alice","bob"]}`))(t)
		harness.Check(t, res.Decode(&dm))
		ids["{dm}"] = dm.RoomID
	}
	if strings.Contains(line, "{bot}") {
		var made bot
		harness.Must(g.tenant.Backend().Call(http.MethodPost, "/bots", newBotBody, http.StatusCreated, &made))(t)
		ids["{bot}"] = made.ID
	}
	if strings.Contains(line, "{sub_of_bob}") {
		var made struct{ ID string }
		harness.Must(g.bob.Call(http.MethodPost, "/subscriptions", `{"topic":"open"}`, http.StatusCreated, &made))(t)
		ids["{sub_of_bob}"] = made.ID
	}
	for name, sender := range map[string]*harness.User{"{of_alice}": g.alice, "{of_bob}": g.bob, "{deleted}": g.bob} {
		if !strings.Contains(line, name) {
			continue
		}
		m := harness.Must(sender.Send(ids["{group}"], harness.Body("from %s", sender.ID)))(t)
		if ids[name] = m.MessageID; name == "{deleted}" {
			harness.Check(t, sender.Delete(m.RoomID, m.MessageID))
		}
	}
	return ids
}

// fill puts ids in the place of their names.
func filled(text string, ids map[string]string) string {
	for name, id := range ids {
		text = strings.ReplaceAll(text, name, id)
	}
	return text
}

// room is the room that a line is about; empty for none that exists.
func roomOf(ids map[string]string) string {
	for _, name := range []string{"{group}", "{channel}", "{dm}"} {
		if ids[name] != "" {
			return ids[name]
		}
	}
	return ""
}

// position is the room's last_rev, -1 for a room that does not exist (any more).
func (g *stage) position(t *testing.T, room string) int64 {
	t.Helper()
	res := harness.Must(g.tenant.Backend().Do(t.Context(), http.MethodGet, "/rooms/"+room, nil))(t)
	if res.Status == http.StatusNotFound {
		return -1
	}
	var r harness.Room
	harness.Check(t, res.Decode(&r))
	return r.LastRev
}

// wantLog fails unless the room's log has gained exactly these steps above a position, and carol was told of each.
func (g *stage) wantLog(t *testing.T, name, room string, before int64, events []string) {
	t.Helper()
	after := g.position(t, room)
	if removed := slices.Contains(events, "room.removed"); removed != (after < 0) {
		t.Errorf("%s: the room's position is %d after %v", name, after, events)
	}
	if after >= 0 && after != before+int64(len(events)) {
		t.Errorf("%s: last_rev %d → %d, want %d steps: %v", name, before, after, len(events), events)
	}
	for i, kind := range events {
		rev := before + int64(i) + 1
		told, err := g.witness.Await(fmt.Sprintf("rev %d of %s", rev, room), func(f harness.Frame) bool {
			return f.RoomID == room && f.Rev == rev
		})
		if err != nil || told.Type != kind {
			t.Errorf("%s: carol was told %s, %v, want %s", name, told.Raw, err, kind)
		}
	}
}

// codes are the codes of error answers by status.
var codes = map[int]string{
	400: "VALIDATION_ERROR", 401: "AUTHENTICATION_ERROR", 403: "AUTHORIZATION_ERROR", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 409: "CONFLICT",
}

// inEachWay walks one actor of a line in each way it can prove who it is.
func (g *stage) inEachWay(t *testing.T, who int, walk func(name string, u *harness.User)) {
	t.Helper()
	for way, how := range wayNames {
		if u := g.actor(t, who, way); u != nil {
			walk(actorNames[who]+" "+how, u)
		}
	}
}

// nestedFrame is a flat frame with its fields in data.
func nestedFrame(t *testing.T, flat string) string {
	t.Helper()
	var fields map[string]json.RawMessage
	harness.Check(t, json.Unmarshal([]byte(flat), &fields))
	nested := map[string]any{"type": fields["type"]}
	delete(fields, "type")
	nested["data"] = fields
	return string(harness.Must(json.Marshal(nested))(t))
}
