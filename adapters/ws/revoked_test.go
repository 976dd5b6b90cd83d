package ws

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// TestCredentialRevokedWhileASocketOpensEndsIt: whoever revokes it closes the sockets it finds, and this one could not
// be found yet.
func TestCredentialRevokedWhileASocketOpensEndsIt(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.auth.revoke = 2
	_, frame, err := f.dial(t, "").ReadMessage()
	if !websocket.IsCloseError(err, closeToken) {
		t.Fatalf("got %s %v, want close 4401 and nothing before it", frame, err)
	}
	f.rooms.peer(0).await(t, "closed")
}

func TestSendInATenantThatIsGoneEndsTheSocket(t *testing.T) {
	t.Parallel()
	c := newFixture(t).dial(t, "").greeted()
	c.say(`{"type":"send_message","request_id":"1","room_id":"` + room + `","content":"tenant gone"}`)
	_, frame, err := c.ReadMessage()
	if !websocket.IsCloseError(err, closeToken) {
		t.Fatalf("got %s %v, want close 4401", frame, err)
	}
}

func TestRevokedSocketIsNotSentWhatWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		c := f.dialPipe(t, "").greeted()
		sink := f.rooms.peer(0).sink
		for n := range 20 {
			if !sink.Push(event(n, 10_000)) {
				t.Fatal("a push was refused")
			}
		}
		synctest.Wait() // the writer has a chunk in its hands
		sink.Close(closeToken, "credential revoked")
		seen := 0
		for {
			_, _, err := c.ReadMessage()
			if websocket.IsCloseError(err, closeToken) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seen++
		}
		if seen > blockingChunk/10_000+1 {
			t.Fatalf("%d of 20 frames were sent after the revocation, want those of one chunk", seen)
		}
	})
}

func TestRevokedSocketIsGoneWithin3SecondsWhateverItsPeerDoes(t *testing.T) {
	for name, behave := range map[string]func(c *client){
		"reads nothing": func(*client) {},
		"does not answer the close": func(c *client) {
			c.SetCloseHandler(func(int, string) error { return nil })
			c.wantClose(closeToken)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				c := f.dialPipe(t, "").greeted()
				f.rooms.peer(0).sink.Push(event(1, 100))
				synctest.Wait()
				since := time.Now()
				f.rooms.peer(0).sink.Close(closeToken, "credential revoked")
				go behave(c)
				f.rooms.peer(0).await(t, "closed")
				wantAfter(t, since, time.Second, 3*time.Second)
			})
		})
	}
}

// TestSessionThatHasEndedIsNotWatched: the sweeper, and whoever closes a session, may come to it after its end.
func TestSessionThatHasEndedIsNotWatched(t *testing.T) {
	t.Parallel()
	h := newHandler(&Handler{})
	s := &Session{h: h}
	h.registry.add(s)
	h.registry.remove(s)
	h.watch(s)
	if _, watched := h.registry.bucket(0, nil); len(watched) > 0 {
		t.Fatal("the ended session is watched for ever")
	}
}

func TestAnyOriginIsAllowedInDevelopmentOnly(t *testing.T) {
	t.Parallel()
	for _, dev := range []bool{false, true} {
		h := newHandler(&Handler{identity: &fakeIdentity{}, limits: &fakeLimits{}, cfg: Config{AllowedOrigins: []string{"*", "https://app.example"}, Dev: dev}})
		for origin, want := range map[string]bool{"https://any.where": dev, "https://app.example": true} {
			r := must(http.NewRequestWithContext(t.Context(), http.MethodGet, "/ws?token=good", nil))
			r.Header.Set("Origin", origin)
			_, err := h.admit(r)
			if errors.Is(err, errOrigin) == want {
				t.Errorf("dev %v, %s: got %v", dev, origin, err)
			}
		}
	}
}
