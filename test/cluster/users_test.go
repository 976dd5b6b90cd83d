package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// awayFor is how long after the last socket a user is told to be offline.
const awayFor = 5 * time.Second

// of counts frames of a type that came to a socket.
func of(c *harness.Conn, kind string) (all []harness.Frame) {
	return slices.DeleteFunc(slices.Clone(c.Frames()), func(f harness.Frame) bool { return f.Type != kind })
}

// isBob matches frames of a type that are about bob.
func isBob(kind string, match func(harness.Frame) bool) func(harness.Frame) bool {
	return func(f harness.Frame) bool { return f.Type == kind && f.UserID == "bob" && match(f) }
}

func TestATicketOpensOneSocketOnWhicheverNode(t *testing.T) {
	t.Parallel()
	tenant, nodes := nodesOf(t, harness.Options{})
	s := tenant.Server()
	for from := range nodes {
		ticket := harness.Must(s.Ticket(tenant.User("alice").At(nodes[from]).Client))(t)
		query := url.Values{"token": {ticket}}
		c := harness.Must(harness.Dial(nodes[(from+1)%3].Base, harness.DialOptions{Query: query}))(t)
		t.Cleanup(c.Drop)
		if hello := harness.Must(c.AwaitType("connected"))(t); hello.UserID != "alice" {
			t.Errorf("a ticket of alice's opened a socket of %s", hello.UserID)
		}
		for _, n := range nodes {
			if again, err := harness.Dial(n.Base, harness.DialOptions{Query: query}); err == nil {
				again.Drop()
				t.Errorf("a ticket that was used up opens a socket at %s", n.Base)
			}
		}
		c.Close()
	}
}

func TestPresenceAndTypingAreToldOnAllNodes(t *testing.T) {
	t.Parallel()
	tenant, nodes := nodesOf(t, harness.Options{})
	alice, bob, carol := tenant.User("alice"), tenant.User("bob"), tenant.User("carol")
	room := harness.Must(tenant.Backend().CreateRoom("group", "alice", "bob", "carol"))(t).RoomID
	watching := []*harness.Conn{connect(t, alice.At(nodes[0])), connect(t, carol.At(nodes[1]))}
	b := connect(t, bob.At(nodes[2]))
	for i, c := range watching {
		harness.Must(c.Await("bob's coming", isBob("presence.update", func(f harness.Frame) bool { return f.Status == "online" })))(t)
		for _, n := range nodes {
			got := harness.Must(alice.At(n).Presence("alice", "bob", "carol"))(t)
			for _, s := range got {
				if s.Status != "online" {
					t.Errorf("watcher %d: %s is %s at %s", i, s.UserID, s.Status, n.Base)
				}
			}
		}
	}
	harness.Check(t, b.Write(map[string]any{"type": "typing.start", "room_id": room}))
	for _, c := range watching {
		harness.Must(c.Await("bob types", isBob("typing", func(f harness.Frame) bool { return f.Action == "start" })))(t)
	}
	harness.Check(t, b.Write(map[string]any{"type": "typing.stop", "room_id": room}))
	for _, c := range watching {
		harness.Must(c.Await("bob types no more", isBob("typing", func(f harness.Frame) bool { return f.Action == "stop" })))(t)
	}
	b.Close()
	left := time.Now()
	for _, c := range watching {
		told := harness.Must(c.Await("bob's going", isBob("presence.update", func(f harness.Frame) bool { return f.Status == "offline" })))(t)
		if after := told.At.Sub(left); after < awayFor-time.Second {
			t.Errorf("told that bob is offline after %s, want the grace of %s", after, awayFor)
		}
		if all := of(c, "presence.update"); len(all) > 3 { // of one another, when both came at once
			t.Errorf("told of presence %d times", len(all))
		}
	}
}

// TestComingBackOnAnotherNodeWithinTheGraceIsInvisible goes from node to node, and then for good.
func TestComingBackOnAnotherNodeWithinTheGraceIsInvisible(t *testing.T) {
	t.Parallel()
	tenant, nodes := nodesOf(t, harness.Options{})
	alice, bob := tenant.User("alice"), tenant.User("bob")
	harness.Must(tenant.Backend().CreateRoom("dm", "alice", "bob"))(t)
	var watching []*harness.Conn
	for i, n := range nodes {
		watching = append(watching, connect(t, alice.At(n), "device_id", fmt.Sprint(i)))
	}
	b := connect(t, bob.At(nodes[0]))
	for _, c := range watching { // of bob's first coming they are told, whenever the bus brings it
		harness.Must(c.Await("bob's coming", isBob("presence.update", func(f harness.Frame) bool { return f.Status == "online" })))(t)
	}
	const moves = 4
	for i := 1; i <= moves; i++ {
		b.Drop()
		<-time.After(500 * time.Millisecond)
		b = connect(t, bob.At(nodes[i%3]))
	}
	<-time.After(awayFor + 2*time.Second) // by then the going of each socket would have been told
	for i, c := range watching {
		if told := of(c, "presence.update"); len(told) != 1 {
			t.Errorf("a watcher at node %d was told of presence %d times, last %s, although bob was never away for long", i+1, len(told), told[len(told)-1].Raw)
		}
	}
	b.Close()
	for i, c := range watching {
		harness.Must(c.Await("bob's going", isBob("presence.update", func(f harness.Frame) bool { return f.Status == "offline" })))(t)
		if told := of(c, "presence.update"); len(told) != 2 {
			t.Errorf("a watcher at node %d was told of presence %d times, want bob's coming and his going", i+1, len(told))
		}
	}
}

// TestOfAUserWhoseNodeDiesTheOthersAreToldOnce: its lease passes.
func TestOfAUserWhoseNodeDiesTheOthersAreToldOnce(t *testing.T) {
	t.Parallel()
	tenant, nodes := nodesOf(t, harness.Options{})
	alice, bob, carol := tenant.User("alice"), tenant.User("bob"), tenant.User("carol")
	harness.Must(tenant.Backend().CreateRoom("group", "alice", "bob", "carol"))(t)
	watching := []*harness.Conn{connect(t, alice.At(nodes[1]), "device_id", "1"), connect(t, alice.At(nodes[2]), "device_id", "2")}
	connect(t, carol.At(nodes[0]))
	connect(t, bob.At(nodes[0]))
	for _, c := range watching {
		for _, who := range []string{"bob", "carol"} { // their comings are under way until they are told
			harness.Must(c.Await(who+"'s coming", func(f harness.Frame) bool {
				return f.Type == "presence.update" && f.UserID == who && f.Status == "online"
			}))(t)
		}
	}
	harness.Check(t, nodes[0].Kill())
	died := time.Now()
	connect(t, carol.At(nodes[1])) // is back in time
	for i, c := range watching {
		told := harness.Must(c.AwaitFor(60*time.Second, "bob's going", isBob("presence.update", func(f harness.Frame) bool { return f.Status == "offline" })))(t)
		t.Logf("told at node %d %s after the death", i+2, told.At.Sub(died).Round(time.Millisecond))
	}
	<-time.After(time.Second) // nothing more
	for i, c := range watching {
		if all := of(c, "presence.update"); len(all) != 3 {
			t.Errorf("told of presence %d times at node %d, want of two comings and of bob's going alone: %s", len(all), i+2, all[len(all)-1].Raw)
		}
	}
}

func TestARevokedKeyIsTheEndOnEveryNode(t *testing.T) {
	t.Parallel()
	const within = 5 * time.Second
	tenant, nodes := nodesOf(t, harness.Options{})
	for name, credential := range map[string]func() (*harness.User, func() error){
		"a signing key": func() (*harness.User, func() error) {
			key := harness.Must(tenant.NewSigner())(t)
			return harness.Must(key.User("alice"))(t), key.Revoke
		},
		"an API key": func() (*harness.User, func() error) {
			id, with, err := tenant.NewKey("spare")
			harness.Check(t, err)
			return with.User("alice"), func() error { return tenant.RevokeKey(id) }
		},
	} {
		u, revoke := credential()
		conns := everywhere(t, u, nodes)
		for _, n := range nodes {
			harness.Must(u.At(n).Call(http.MethodGet, "/rooms", nil, http.StatusOK, nil))(t)
		}
		harness.Check(t, revoke())
		revoked := time.Now()
		for i, n := range nodes {
			harness.Eventually(t, time.Second, fmt.Sprintf("%s is nothing any more at node %d", name, i+1), func() bool {
				res, err := u.At(n).Do(t.Context(), http.MethodGet, "/rooms", nil)
				return err == nil && res.Status == http.StatusUnauthorized
			})
		}
		t.Logf("%s: refused on all nodes after %s", name, time.Since(revoked).Round(time.Millisecond))
		for i, c := range conns {
			if code, err := c.CloseCode(time.Until(revoked.Add(within))); err != nil || code != 4401 {
				t.Errorf("%s: the socket at node %d: code %d, %v, want 4401", name, i+1, code, err)
			}
		}
		t.Logf("%s: sockets closed on all nodes after %s", name, time.Since(revoked).Round(time.Millisecond))
	}
}

// TestARevokedKeyIsTheEndOnANodeThatIsCutOffFromRedis: it asks the database what it remembers of credentials, anew every few
// seconds.
func TestARevokedKeyIsTheEndOnANodeThatIsCutOffFromRedis(t *testing.T) {
	t.Parallel()
	const within = 15 * time.Second // 10 s are promised
	s, _ := breakable(t)
	tenant := harness.Must(s.NewTenant("revoked"))(t)
	signer := harness.Must(tenant.NewSigner())(t)
	id, with, err := tenant.NewKey("spare")
	harness.Check(t, err)
	alone := s.Nodes[1]
	alone.ToRedis.Cut()
	wantHealth(t, []*harness.Node{alone}, "degraded")
	users := map[string]*harness.User{"a signing key": harness.Must(signer.User("alice"))(t).At(alone), "an API key": with.User("bob").At(alone)}
	conns := map[string]*harness.Conn{}
	for name, u := range users {
		conns[name] = connect(t, u)
		harness.Must(u.Call(http.MethodGet, "/rooms", nil, http.StatusOK, nil))(t)
	}
	at := tenant.Server().Operator().At(s.Nodes[0])
	revoked := time.Now()
	harness.Must(at.Call(http.MethodDelete, "/admin/tenants/"+tenant.ID+"/keys/"+id, nil, http.StatusNoContent, nil))(t)
	harness.Must(at.Call(http.MethodDelete, "/admin/tenants/"+tenant.ID+"/signing-keys/"+signer.Kid, nil, http.StatusNoContent, nil))(t)
	for name, u := range users {
		harness.Eventually(t, time.Until(revoked.Add(within)), name+" is nothing any more", func() bool {
			res, err := u.Do(t.Context(), http.MethodGet, "/rooms", nil)
			return err == nil && res.Status == http.StatusUnauthorized
		})
		t.Logf("%s: refused after %s", name, time.Since(revoked).Round(time.Millisecond))
		if code, err := conns[name].CloseCode(time.Until(revoked.Add(within))); err != nil || code != 4401 {
			t.Errorf("%s: the socket: code %d, %v, want 4401 within %s", name, code, err, within)
		}
		t.Logf("%s: its socket closed after %s", name, time.Since(revoked).Round(time.Millisecond))
	}
}

// TestAfterARemovalNothingMoreIsToldOnAnyNode removes a member at one node while another sends at a second; the member has
// sockets at all.
func TestAfterARemovalNothingMoreIsToldOnAnyNode(t *testing.T) {
	t.Parallel()
	const rounds = 8
	tenant, nodes := nodesOf(t, harness.Options{})
	alice, bob := tenant.User("alice").At(nodes[0]), tenant.User("bob")
	conns := everywhere(t, bob, nodes)
	for round := range rounds {
		room := harness.Must(alice.CreateRoom("group", "bob"))(t).RoomID
		stop, sent := make(chan struct{}), make(chan error, 1)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					sent <- nil
					return
				default:
				}
				if _, err := alice.Send(room, harness.Body("%d", i)); err != nil {
					sent <- err
					return
				}
			}
		}()
		for _, c := range conns {
			harness.Must(c.AwaitMessage(room, 3))(t)
		}
		harness.Check(t, alice.At(nodes[1+round%2]).RemoveMember(room, "bob"))
		<-time.After(50 * time.Millisecond) // alice goes on
		close(stop)
		harness.Check(t, <-sent)
		for i, c := range conns {
			gone := harness.Must(c.Await("bob's removal", func(f harness.Frame) bool { return f.Type == "room.removed" && f.RoomID == room }))(t)
			wantNothingAfter(t, c, room, gone, fmt.Sprintf("round %d, node %d", round, i+1))
		}
		for _, n := range nodes {
			if _, err := bob.At(n).Page(room, 0, 10); err == nil {
				t.Errorf("bob reads at %s a room that he was removed from", n.Base)
			}
		}
	}
}

// wantNothingAfter fails when a socket was told of a room after, or of what is above, the user's removal.
func wantNothingAfter(t *testing.T, c *harness.Conn, room string, gone harness.Frame, where string) {
	t.Helper()
	over := false
	for _, f := range c.Frames() {
		if f.RoomID != room {
			continue
		}
		if over || f.Rev > gone.Rev {
			t.Errorf("%s: after the removal at rev %d came %s", where, gone.Rev, f.Raw)
		}
		over = over || f.Type == "room.removed"
	}
}

// TestAUsersSocketsAreCountedOnAllNodes: one more than may be is turned away, wherever.
func TestAUsersSocketsAreCountedOnAllNodes(t *testing.T) {
	t.Parallel()
	const most = 5
	tenant, nodes := nodesOf(t, harness.Options{})
	alice := tenant.User("alice")
	var conns []*harness.Conn
	for i := range most {
		conns = append(conns, connect(t, alice.At(nodes[i%3])))
	}
	for _, n := range nodes {
		c := harness.Must(alice.At(n).Dial())(t)
		t.Cleanup(c.Drop)
		if code, err := c.CloseCode(10 * time.Second); err != nil || code != 1008 {
			t.Errorf("one socket more at %s: code %d, %v, want 1008", n.Base, code, err)
		}
	}
	conns[0].Close()
	harness.Eventually(t, 5*time.Second, "the place of a socket that was closed is another's, at another node", func() bool {
		c, err := alice.At(nodes[1]).Dial()
		if err != nil {
			return false
		}
		t.Cleanup(c.Drop)
		_, err = c.AwaitFor(time.Second, "its beginning", func(f harness.Frame) bool { return f.Type == "sync.complete" })
		return err == nil
	})
}
