package application_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// chatNode is the chats of one node of a cluster: nodes share the store and the presence.
type chatNode struct {
	*application.Chats
	h    *hall
	stop func()
}

// chatsOf starts the chats of one more node, over a presence of its own when it is given one.
func (h *hall) chatsOf(presence ports.Presence) *chatNode {
	if presence == nil {
		presence = h.presence
	}
	slots := application.NewSlots(presence, system.IDs{}, slog.New(slog.DiscardHandler))
	n := &chatNode{h: h, Chats: application.NewChats(h.through, h.rooms, h.messaging, h.fanout, h.identity, presence, slots,
		system.IDs{}, system.Clock{}, slog.New(slog.DiscardHandler))}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Run(ctx) }()
	counted := make(chan struct{})
	go func() { defer close(counted); _ = slots.Run(ctx) }()
	n.stop = func() {
		cancel()
		<-done
		<-counted
	}
	return n
}

// inChats runs a scenario on two nodes.
func inChats(t *testing.T, scenario func(h *hall, one, two *chatNode)) {
	t.Helper()
	inHall(t, func(h *hall) {
		one, two := h.chatsOf(nil), h.chatsOf(nil)
		scenario(h, one, two)
		one.stop()
		two.stop()
	})
}

func (h *hall) configure(config string) {
	h.t.Helper()
	if _, err := h.tenancy.Update(context.Background(), h.tenant, nil, []byte(config)); err != nil {
		h.t.Fatal(err)
	}
}

func (n *chatNode) make(user string) domain.Chat {
	n.h.t.Helper()
	made, err := n.Create(context.Background(), n.h.backend(), domain.ChatDraft{User: user}, nil)
	if err != nil {
		n.h.t.Fatal(err)
	}
	return made.Chat
}

// chatSink is a socket on a chat that remembers what it gets.
type chatSink struct {
	*client
	*application.ChatSocket
	closed int
}

func (s *chatSink) Close(code int, _ string) { s.closed = code }

func (n *chatNode) tryConnect(user string, id domain.RoomID) (*chatSink, error) {
	s := &chatSink{client: &client{h: n.h, begun: time.Now()}}
	var err error
	s.ChatSocket, err = n.Connect(context.Background(), n.h.as(user), id, s)
	return s, err
}

func (n *chatNode) connect(user string, id domain.RoomID) *chatSink {
	n.h.t.Helper()
	s, err := n.tryConnect(user, id)
	if err != nil {
		n.h.t.Fatal(err)
	}
	return s
}

func (s *chatSink) leave() { s.ChatSocket.Close(context.Background()) }

// kinds are those of what a socket has got.
func (s *chatSink) kinds() (kinds []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.got {
		kinds = append(kinds, string(f.Kind)+" "+string(f.Bytes))
	}
	return kinds
}

// TestAChatIsInUseOnAnyNode: it is deleted once the last socket has gone, wherever that was.
func TestAChatIsInUseOnAnyNode(t *testing.T) {
	t.Parallel()
	inChats(t, func(h *hall, one, two *chatNode) {
		chat := one.make("ann")
		first, second := one.connect("ann", chat.ID), two.connect("ann", chat.ID)
		other := one.connect("bob", one.make("bob").ID)
		for _, s := range []*chatSink{first, second} {
			for name, n := range map[string]*chatNode{"one": one, "two": two} {
				if _, err := n.Remove(context.Background(), h.backend(), chat.ID); !errors.Is(err, domain.ErrChatInUse) {
					t.Errorf("node %s: %v", name, err)
				}
			}
			time.Sleep(10 * time.Minute) // leases are renewed
			s.leave()
		}
		if _, err := one.Remove(context.Background(), h.backend(), chat.ID); err != nil {
			t.Errorf("after the last has left: %v", err)
		}
		if _, err := two.Remove(context.Background(), h.backend(), chat.ID); !errors.Is(err, domain.ErrChatNotFound) {
			t.Errorf("once more: %v", err)
		}
		other.leave()
	})
}

// TestAChatOfADeadNodeCanBeDeleted once its leases have passed.
func TestAChatOfADeadNodeCanBeDeleted(t *testing.T) {
	t.Parallel()
	inChats(t, func(h *hall, one, two *chatNode) {
		chat := one.make("ann")
		one.connect("ann", chat.ID)
		one.stop() // and never says goodbye
		time.Sleep(20 * time.Second)
		if _, err := two.Remove(context.Background(), h.backend(), chat.ID); !errors.Is(err, domain.ErrChatInUse) {
			t.Errorf("before the lease has passed: %v", err)
		}
		time.Sleep(20 * time.Second)
		if _, err := h.presence.Expire(context.Background()); err != nil {
			t.Fatal(err)
		}
		two.connect("ann", chat.ID).leave()
		if _, err := two.Remove(context.Background(), h.backend(), chat.ID); err != nil {
			t.Errorf("after it has passed: %v", err)
		}
	})
}

// TestATenantHasSoManySocketsOnAllNodes: no more, however many come at once, and none less when they have gone.
func TestATenantHasSoManySocketsOnAllNodes(t *testing.T) {
	t.Parallel()
	inChats(t, func(h *hall, one, two *chatNode) {
		const limit = 7
		h.configure(fmt.Sprintf(`{"chat_limits":{"sockets":%d}}`, limit))
		chat := one.make("ann")
		for range 3 {
			var mu sync.Mutex
			var open []*chatSink
			var coming sync.WaitGroup
			for i := range 40 {
				coming.Go(func() {
					s, err := []*chatNode{one, two}[i%2].tryConnect("ann", chat.ID)
					if errors.Is(err, domain.ErrTooManyWatched) {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Error(err)
						return
					}
					open = append(open, s)
				})
			}
			coming.Wait()
			if len(open) != limit {
				t.Errorf("%d sockets are open, want %d", len(open), limit)
			}
			for _, s := range open {
				s.leave()
			}
			synctest.Wait() // the other node is told in a moment
		}
		for range limit {
			defer one.connect("ann", chat.ID).leave()
		}
	})
}

// TestAChatSocketIsNoNativeOne: it follows its chat from then on, and nothing else; nobody waits for its acknowledgement.
func TestAChatSocketIsNoNativeOne(t *testing.T) {
	t.Parallel()
	inChats(t, func(h *hall, one, _ *chatNode) {
		chat := one.make("ann")
		if _, err := h.messaging.Send(context.Background(), h.as("ann"), chat.ID, domain.Draft{Content: "before"}, nil); err != nil {
			t.Fatal(err)
		}
		s := one.connect("ann", chat.ID)
		h.send("ann", h.group("bob", "ann"))
		h.notify(`{"n":1}`, "ann")
		sent, err := s.Send(context.Background(), "after", nil)
		if err != nil || !sent.Unanswered || sent.Seq != 2 {
			t.Errorf("sent %+v, %v", sent, err)
		}
		time.Sleep(2 * time.Hour)
		if got := s.kinds(); !slices.Equal(got, []string{"message after"}) {
			t.Errorf("got %q", got)
		}
		if dead := h.given(); len(dead.Messages)+len(dead.Notifications) != 0 {
			t.Errorf("dead letters %+v", dead)
		}
		s.leave()
	})
}

// TestAChatUserIsSeenFirstOnce, however many sockets come at once, and only when nobody has said anything of them.
func TestAChatUserIsSeenFirstOnce(t *testing.T) {
	t.Parallel()
	inChats(t, func(h *hall, one, two *chatNode) {
		chat := one.make("ann")
		var mu sync.Mutex
		fresh := 0
		var coming sync.WaitGroup
		for i := range 20 {
			coming.Go(func() {
				s, err := []*chatNode{one, two}[i%2].tryConnect("ann", chat.ID)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if s.Fresh {
					fresh++
				}
			})
		}
		if coming.Wait(); fresh != 1 {
			t.Errorf("first sight was told %d times", fresh)
		}
		if one.connect("ann", chat.ID).Fresh {
			t.Error("and later once more")
		}
	})
}

// TestWebhooksTellOfChatsOnlyWhoIsNotThere: somebody with a socket on the chat is told nothing by them.
func TestWebhooksTellOfChatsOnlyWhoIsNotThere(t *testing.T) {
	t.Parallel()
	inChats(t, func(h *hall, one, _ *chatNode) {
		chat, other := one.make("ann"), one.make("ann")
		for _, c := range []domain.Chat{chat, other} {
			err := h.store.Update(context.Background(), h.tenant, func(tx ports.Tx) error {
				_, err := tx.AddMember(c.ID, "carol", domain.RoleMember, time.Now())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		s := one.connect("ann", chat.ID)
		h.send("carol", chat.ID)
		missed := h.send("carol", other.ID)
		time.Sleep(time.Minute)
		if got := h.got(); len(got) != 1 || got[0].message != missed.ID || !slices.Equal(got[0].recipients, []domain.UserID{"ann"}) {
			t.Errorf("told %+v", got)
		}
		s.leave()
		later := h.send("carol", chat.ID)
		time.Sleep(time.Minute)
		if got := h.got(); len(got) != 2 || got[1].message != later.ID {
			t.Errorf("told %+v", got)
		}
	})
}

// TestASocketAtTheMomentOfARemoval is refused, or learns of it: none is left on a chat that is gone.
func TestASocketAtTheMomentOfARemoval(t *testing.T) {
	t.Parallel()
	inChats(t, func(h *hall, one, two *chatNode) {
		for range 30 {
			chat := one.make("ann")
			var s *chatSink
			var opened, removed error
			var both sync.WaitGroup
			both.Go(func() { s, opened = one.tryConnect("ann", chat.ID) })
			both.Go(func() { _, removed = two.Remove(context.Background(), h.backend(), chat.ID) })
			both.Wait()
			time.Sleep(5 * time.Second)
			switch {
			case opened != nil && !errors.Is(opened, domain.ErrChatNotFound), removed != nil && !errors.Is(removed, domain.ErrChatInUse):
				t.Fatalf("opened: %v, removed: %v", opened, removed)
			case opened != nil && removed != nil:
				t.Error("it is neither open nor gone")
			case opened == nil && removed == nil && !slices.ContainsFunc(s.kinds(), func(kind string) bool { return strings.HasPrefix(kind, "room.removed") }):
				t.Errorf("open on a chat that is gone: %q", s.kinds())
			}
			if opened == nil {
				s.leave()
			}
		}
	})
}

// brokenPresence is a port that cannot be reached.
type brokenPresence struct{ ports.Presence }

var errBroken = errors.New("no connection")

func (brokenPresence) Arrive(context.Context, string, []ports.TenantUser, time.Duration) ([]ports.TenantUser, error) {
	return nil, errBroken
}

func (brokenPresence) Leave(context.Context, string, []ports.TenantUser) (left, unknown []ports.TenantUser, err error) {
	return nil, nil, errBroken
}

func (brokenPresence) Online(context.Context, domain.TenantID, []domain.UserID) (map[domain.UserID]bool, error) {
	return nil, errBroken
}

// TestChatsGoOnWithoutThePresenceOfOthers: sockets are counted on their own node then, and nothing is deleted blindly.
func TestChatsGoOnWithoutThePresenceOfOthers(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		h.configure(`{"chat_limits":{"sockets":2}}`)
		n := h.chatsOf(brokenPresence{})
		defer n.stop()
		chat := n.make("ann")
		one := n.connect("ann", chat.ID)
		two := n.connect("ann", chat.ID)
		if _, err := n.tryConnect("ann", chat.ID); !errors.Is(err, domain.ErrTooManyWatched) {
			t.Errorf("a third: %v", err)
		}
		if _, err := n.Remove(context.Background(), h.backend(), chat.ID); !errors.Is(err, domain.ErrChatInUse) {
			t.Errorf("with sockets of its own: %v", err)
		}
		one.leave()
		two.leave()
		if _, err := n.Remove(context.Background(), h.backend(), chat.ID); !errors.Is(err, domain.ErrAlone) {
			t.Errorf("nobody knows who is on it, and it is answered by %v", err)
		}
		synctest.Wait()
	})
}
