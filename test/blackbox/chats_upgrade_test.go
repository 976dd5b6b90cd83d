package blackbox

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// chatQuery are the parameters of a socket on a chat.
func chatQuery(key, user, chatID string) url.Values {
	return url.Values{"api_key": {key}, "user_id": {user}, "chat_id": {chatID}}
}

// TestAChatSocketIsFoundUnderTheVersionToo.
func TestAChatSocketIsFoundUnderTheVersionToo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	query := chatQuery(h.Key, "alice", newChat(t, h.Tenant, "alice").ID)
	for _, path := range []string{"/v1/ws/chat", "/v1/ws/chat/", "/ws/chat/"} {
		c := chatConn{harness.Must(harness.Dial(h.Server().Base, harness.DialOptions{Path: path, Query: query}))(t), t}
		t.Cleanup(c.Drop)
		c.await("connection_established")
	}
}

func TestACallThatIsNoHandshakeIsToldToUpgrade(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	anonymous := h.Server().Nodes[0].Anonymous()
	path := "/ws/chat?" + chatQuery(h.Key, "alice", newChat(t, h.Tenant, "alice").ID).Encode()
	res := harness.Must(anonymous.Do(t.Context(), http.MethodGet, path, nil))(t)
	if isChatError(t, res, http.StatusUpgradeRequired); res.Header.Get("Upgrade") != "websocket" {
		t.Errorf("Upgrade: %q, want websocket", res.Header.Get("Upgrade"))
	}
}

// TestWhoGuessesCredentialsOpensNoChatSockets, with the right one either, until the bucket of the address has something again.
func TestWhoGuessesCredentialsOpensNoChatSockets(t *testing.T) {
	t.Parallel()
	const guessers = 8
	h := newHouse(t)
	node := h.Server().Nodes[0] // each counts for itself
	query := chatQuery(h.Key, "alice", newChat(t, h.Tenant, "alice").ID)
	wrong := node.Anonymous().With("X-API-Key", "sk_0123456789012345678901234567890123456789012")
	enough := make(chan struct{})
	var all sync.WaitGroup
	for range guessers {
		all.Go(func() {
			for {
				select {
				case <-enough:
					return
				default:
				}
				if _, err := wrong.Do(t.Context(), http.MethodGet, chatsPath+"/x", nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var refused *harness.HandshakeError
	err := harness.Until(30*time.Second, "an upgrade is refused", func() bool {
		c, err := harness.Dial(node.Base, harness.DialOptions{Path: "/ws/chat", Query: query})
		if err == nil {
			c.Drop()
		}
		return errors.As(err, &refused)
	})
	close(enough)
	all.Wait()
	harness.Check(t, err)
	if isChatError(t, refused.Response, http.StatusTooManyRequests); refused.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	harness.Eventually(t, 20*time.Second, "the right credential opens a socket again", func() bool {
		c, err := harness.Dial(node.Base, harness.DialOptions{Path: "/ws/chat", Query: query})
		if err == nil {
			c.Drop()
		}
		return err == nil
	})
}

// TestAChatSocketThatTakesNothingIsClosed after ten seconds; what it has missed is in the history.
func TestAChatSocketThatTakesNothingIsClosed(t *testing.T) {
	t.Parallel()
	const messages = 200 // of 12 KB: more than its kernel holds
	h := newHouse(t)
	made := newChat(t, h.Tenant, "alice")
	query := chatQuery(h.Key, "alice", made.ID)
	slow := harness.Must(harness.Dial(h.Server().Base, harness.DialOptions{Path: "/ws/chat", Query: query, Stalled: true, ReadBuffer: trickle}))(t)
	t.Cleanup(slow.Drop)
	quick, alice := dialChat(t, h.Tenant, "alice", made.ID), h.User("alice")
	for range messages {
		harness.Must(alice.Send(made.room(), harness.Body("%s", strings.Repeat("x", 12_000))))(t)
	}
	<-time.After(14 * time.Second) // 10 s without progress is the server's limit
	slow.Read()
	if code := harness.Must(slow.CloseCode(30 * time.Second))(t); code != 1008 && code != 1006 { // a full buffer may have no room for the close frame
		t.Errorf("close code %d, want 1008, or 1006 when no frame could be written", code)
	}
	quick.awaitNth("message_received", messages)
	if got := len((chatConn{slow, t}).events()); got >= messages {
		t.Errorf("the stalled socket had %d events: nothing was tested", got)
	}
	again := dialChat(t, h.Tenant, "alice", made.ID)
	again.say(harness.Body("back again"))
	again.await("message_received")
}
