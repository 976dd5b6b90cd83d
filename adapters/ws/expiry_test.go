package ws

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

// stamp is a time as frames have it.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// expiring is the frame that tells of the end of a credential.
func expiring(at time.Time) map[string]any {
	return map[string]any{"type": "token.expiring", "expires_at": stamp(at)}
}

func wantFrame(t *testing.T, c *client, want map[string]any) {
	t.Helper()
	if diff := cmp.Diff(want, c.next()); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

func TestClientIsToldOnceAMinuteBeforeItsTokenEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for range 7 { // so that the sweeper comes to the socket at another second than to the first
			go f.dialPipe(t, "").greeted().ending()
		}
		since := time.Now()
		f.auth.set(func() { f.auth.expires = since.Add(200 * time.Second) })
		c := f.dialPipe(t, "").greeted()
		wantFrame(t, c, expiring(since.Add(200*time.Second)))
		wantAfter(t, since, 140*time.Second, 141*time.Second)
		if _, raw, err := c.ReadMessage(); err == nil {
			t.Fatalf("got %s, want the close", raw)
		}
		wantAfter(t, since, 200*time.Second, 201*time.Second)
	})
}

func TestClientWithLessThanAMinuteLeftIsToldAtOnce(t *testing.T) {
	for name, left := range map[string]time.Duration{"50 s": 50 * time.Second, "5 s": 5 * time.Second, "leeway": -10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				for range 20 {
					go f.dialPipe(t, "").greeted().ending()
				}
				since := time.Now()
				end := since.Add(left)
				if left < 0 {
					end = end.Add(domain.TokenLeeway)
				}
				f.auth.set(func() { f.auth.expires = since.Add(left) })
				c := f.dialPipe(t, "").greeted()
				wantFrame(t, c, expiring(end))
				wantAfter(t, since, 0, 0)
				c.wantClose(closeToken)
				wantAfter(t, since, end.Sub(since), end.Sub(since)+time.Second)
			})
		})
	}
}

func TestRenewedSocketLivesUntilItsNewTokenEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		since := time.Now()
		f.auth.expires, f.auth.fresh = since.Add(100*time.Second), since.Add(300*time.Second)
		c := f.dialPipe(t, "").greeted()
		wantFrame(t, c, expiring(since.Add(100*time.Second)))
		c.say(`{"type":"auth","request_id":"1","data":{"token":"fresh"}}`)
		wantFrame(t, c, map[string]any{
			"type": "reply", "request_id": "1", "data": map[string]any{"expires_at": stamp(since.Add(300 * time.Second))},
		})
		f.rooms.peer(0).await(t, "renew key_fresh")
		wantFrame(t, c, expiring(since.Add(300*time.Second)))
		wantAfter(t, since, 240*time.Second, 241*time.Second)
		c.wantClose(closeToken)
		wantAfter(t, since, 300*time.Second, 301*time.Second)
	})
}

func TestRenewingWithATokenThatEndsSoonTellsSo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		since := time.Now()
		f.auth.fresh = since.Add(30 * time.Second)
		c := f.dialPipe(t, "").greeted() // with a token that never ends
		c.say(`{"type":"auth","token":"fresh"}`)
		wantFrame(t, c, expiring(since.Add(30*time.Second)))
		wantAfter(t, since, 0, time.Second)
		c.wantClose(closeToken)
		wantAfter(t, since, 30*time.Second, 31*time.Second)
	})
}

func TestRenewingWithACredentialWithoutAnEndLeavesNone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		since := time.Now()
		f.auth.expires = since.Add(50 * time.Second)
		c := f.dialPipe(t, "").greeted()
		wantFrame(t, c, expiring(since.Add(50*time.Second)))
		c.say(`{"type":"auth","request_id":"1","token":"fresh"}`)
		wantFrame(t, c, map[string]any{"type": "reply", "request_id": "1", "data": map[string]any{"expires_at": nil}})
		go c.ending()
		time.Sleep(5 * time.Minute)
		if got := f.Stats().Open; got != 1 {
			t.Fatalf("%d open sockets, want 1", got)
		}
	})
}

func TestTokenThatIsNoGoodChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		since := time.Now()
		f.auth.expires = since.Add(100 * time.Second)
		c := f.dialPipe(t, "").greeted()
		for _, token := range []string{"", "bad", "expired", "bob's", "elsewhere"} {
			c.say(`{"type":"auth","token":"` + token + `"}`)
			if got := c.next(); got["type"] != "error" {
				t.Errorf("auth with %q: got %v, want an error", token, got)
			}
		}
		wantFrame(t, c, expiring(since.Add(100*time.Second)))
		c.wantClose(closeToken)
		wantAfter(t, since, 100*time.Second, 101*time.Second)
	})
}

// TestCredentialRevokedWhileItRenewsEndsTheSocket: whoever revoked it closed the sockets that stood on it, and this one
// did not yet.
func TestCredentialRevokedWhileItRenewsEndsTheSocket(t *testing.T) {
	t.Parallel()
	for want, err := range map[int]error{closeToken: domain.ErrUnauthenticated, closeTryLater: domain.ErrUnavailable} {
		f := newFixture(t)
		c := f.dial(t, "").greeted()
		f.auth.set(func() { f.auth.confirm = err })
		c.say(`{"type":"auth","request_id":"1","token":"fresh"}`)
		if _, raw, err := c.ReadMessage(); err == nil {
			t.Fatalf("got %s, want close %d", raw, want)
		}
		f.rooms.peer(0).await(t, "renew key_fresh")
		eventually(t, "the close", func() bool { return f.Stats().Closes[want] == 1 })
	}
}

// TestRenewalInTheLastMomentEitherCountsOrComesTooLate: the sweeper decides to end or to remind a socket, and auth renews
// it before the sweeper gets to it, or after.
func TestRenewalInTheLastMomentEitherCountsOrComesTooLate(t *testing.T) {
	t.Parallel()
	h := newHandler(&Handler{clock: wallClock{}})
	today := h.clock.Now()
	ending := func() *Session {
		s := &Session{h: h}
		s.expires.Store(today.UnixMilli())
		return s
	}
	if s := ending(); !s.standOn(today.Add(time.Hour)) {
		t.Error("a renewal before the end was refused")
	} else {
		s.expire(today)
		s.remind(today)
		if s.closing || s.out.len() > 0 {
			t.Errorf("after a renewal: closing %v, %d frames are queued", s.closing, s.out.len())
		}
	}
	s := ending()
	if s.expire(today); s.standOn(today.Add(time.Hour)) || !s.closing || s.left(today) > 0 {
		t.Error("a renewal after the end has begun was taken")
	}
	for range 100 {
		s := ending()
		var both sync.WaitGroup
		both.Go(func() { s.check(h.now(), today) })
		both.Go(func() {
			if s.standOn(today.Add(time.Hour)) == s.isClosing() {
				t.Error("a socket was renewed and ended, or neither")
			}
		})
		both.Wait()
	}
}

func TestWatchingASocketForItsTokenEndsWithTheRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		since := time.Now()
		f.auth.expires, f.auth.fresh = since.Add(50*time.Second), since.Add(time.Hour)
		c := f.dialPipe(t, "").greeted()
		wantFrame(t, c, expiring(since.Add(50*time.Second)))
		c.say(`{"type":"auth","token":"fresh"}`)
		go c.ending()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if _, watched := f.registry.bucket(0, nil); len(watched) > 0 {
			t.Fatal("the sweeper still looks every second")
		}
	})
}

// TestCredentialsShownOnASocketCountAgainstItsAddress, as those at the door do: else a socket would be a place to guess at.
func TestCredentialsShownOnASocketCountAgainstItsAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t, "").greeted()
	for i, token := range []string{"", "bad", "expired", "bob's"} {
		c.say(`{"type":"auth","token":"` + token + `"}`)
		c.next()
		if got, want := len(f.rates.failures()), []int{0, 1, 2, 2}[i]; got != want {
			t.Errorf("after %q: %d failures, want %d", token, got, want)
		}
	}
	f.rates.bar()
	c.say(`{"type":"auth","token":"fresh"}`)
	if got := c.next(); got["code"] != "RATE_LIMIT_EXCEEDED" {
		t.Errorf("from an address that is barred: got %v", got)
	}
}
