package application

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Hints tells the members of a room what matters only now: who is typing, and how far others have received and read.
// Of each kind, room and user at most one goes out a second, the latest; a typist who says nothing more has stopped
// after six.
type Hints struct {
	bus ports.Bus
	enc ports.Encoder
	log *slog.Logger

	mu    sync.Mutex
	tells map[hintKey]*telling
}

// hintKey is what is told about: receipts and typing apart, each room and user on its own.
type hintKey struct {
	kind domain.EventKind
	room domain.RoomID
	user domain.UserID
}

// telling is one such thing that was told a moment ago.
type telling struct {
	tenant  domain.TenantID
	sent    time.Time    // when it was last told; monotonic, as all of these
	last    string       // the state that was told, of typing
	highest int64        // of receipts, told or waiting: a device that lags behind the user's others tells nothing new
	waiting *domain.Hint // to be told when a second has passed
	stopAt  time.Time    // of a typist; zero = not typing
}

// hintTick is how late a hint that had to wait may be.
const hintTick = 250 * time.Millisecond

// NewHints wires the component; Run it.
func NewHints(bus ports.Bus, enc ports.Encoder, log *slog.Logger) *Hints {
	return &Hints{bus: bus, enc: enc, log: log, tells: map[hintKey]*telling{}}
}

// Run tells what had to wait, until ctx ends.
func (h *Hints) Run(ctx context.Context) error {
	tick := time.NewTicker(hintTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, hint := range h.due(now) {
				h.publish(ctx, hint)
			}
		}
	}
}

// Tell passes a hint on, now or within a second.
func (h *Hints) Tell(ctx context.Context, hint domain.Hint) {
	if h.note(hint, time.Now()) {
		h.publish(ctx, hint)
	}
}

// note reports whether the hint is to be told at once; else it waits, or is nothing new.
func (h *Hints) note(hint domain.Hint, now time.Time) bool {
	key := hintKey{hint.Kind, hint.Room, hint.User}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.tells[key]
	if t == nil {
		if hint.State == domain.TypingStopped {
			return false
		}
		t = &telling{tenant: hint.Tenant}
		h.tells[key] = t
	}
	if hint.State == "" && hint.Seq <= t.highest {
		return false
	}
	t.highest = hint.Seq
	switch hint.State {
	case domain.TypingStarted:
		t.stopAt = now.Add(domain.TypingLasts)
	case domain.TypingStopped:
		t.stopAt = time.Time{}
	}
	if now.Sub(t.sent) < domain.HintEvery {
		t.waiting = &hint
		return false
	}
	return t.tell(&hint, now)
}

// tell notes that a hint goes out; that somebody has stopped typing, of whom nobody has heard, does not.
func (t *telling) tell(hint *domain.Hint, now time.Time) bool {
	t.waiting = nil
	if hint.State == domain.TypingStopped && t.last != domain.TypingStarted {
		return false
	}
	t.sent, t.last = now, hint.State
	return true
}

// due takes what has waited long enough, ends the typing of those who fell silent, and forgets what is over.
func (h *Hints) due(now time.Time) (due []domain.Hint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, t := range h.tells {
		if !t.stopAt.IsZero() && now.After(t.stopAt) {
			t.stopAt = time.Time{}
			t.waiting = t.stopped(key)
		}
		if now.Sub(t.sent) < domain.HintEvery {
			continue
		}
		if hint := t.waiting; hint != nil {
			if t.tell(hint, now) {
				due = append(due, *hint)
			}
		} else if t.stopAt.IsZero() {
			delete(h.tells, key)
		}
	}
	return due
}

func (t *telling) stopped(key hintKey) *domain.Hint {
	return &domain.Hint{Tenant: t.tenant, Room: key.room, Kind: key.kind, User: key.user, State: domain.TypingStopped}
}

// publish hands a hint to every node, on the channel of its room. It may overtake an event that was committed a moment
// before and that the dispatcher has not come to.
func (h *Hints) publish(ctx context.Context, hint domain.Hint) {
	payload := appendSignal(nil, newHintSignal(h.enc, hint))
	if err := h.bus.Publish(ctx, channelOf(shardOf(hint.Room)), payload); err != nil {
		h.log.Warn("hint not published", "error", err)
	}
}

// newHintSignal encodes a hint once for all its receivers. It has no Rev: it is no step of a log.
func newHintSignal(enc ports.Encoder, hint domain.Hint) signal {
	s := signal{tenant: hint.Tenant, Frame: enc.Hint(hint)}
	s.Room, s.Kind, s.User, s.Rev, s.Seq = hint.Room, hint.Kind, hint.User, 0, 0
	if hint.State == domain.TypingStarted {
		s.number = 1
	}
	return s
}

// hint gives a hint to the room's sockets on this node: a receipt to everybody in a room of at most
// domain.MaxHintMembers and else to its user's own devices, typing to everybody else in such a room.
func (r *liveRoom) hint(f *Fanout, sig signal) {
	switch sig.Kind {
	case hintAgain:
		r.sendAgain(f, sig)
		return
	case hintStream:
		r.stream(f, sig)
		return
	}
	switch all := r.hintAll(f, sig); {
	case sig.Kind != domain.HintTyping && !all:
		r.hintOwn(f, sig)
	case sig.Kind == domain.HintTyping && all:
		f.typists.heard(sig, time.Now())
	}
}

// hintAll gives a hint to everybody in a small room, but a typist; false when the room is large.
func (r *liveRoom) hintAll(f *Fanout, sig signal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isSmall() {
		return false
	}
	for i := range r.seats {
		s := &r.seats[i]
		if s.until > 0 || sig.Kind == domain.HintTyping && s.peer.caller.User == sig.User {
			continue
		}
		s.peer.sink.Hint(sig.Frame)
		f.counters.hints.Add(1)
	}
	return true
}

// hintOwn gives a hint to the user's own sockets in the room, whatever the room's size.
func (r *liveRoom) hintOwn(f *Fanout, sig signal) {
	for _, p := range f.peersOf(ports.TenantUser{Tenant: r.tenant, User: sig.User}) {
		if p.roomOf(r.id) == r {
			p.sink.Hint(sig.Frame)
			f.counters.hints.Add(1)
		}
	}
}

// isSmall reports whether hints go to all its members. The caller holds r.mu.
func (r *liveRoom) isSmall() bool { return r.members <= domain.MaxHintMembers }

// sendAgain has every node send a run of messages once more to the user's sockets on it.
func (h *Hints) sendAgain(ctx context.Context, tenant domain.TenantID, letter domain.DeadLetter) {
	s := signal{tenant: tenant, number: letter.ToSeq}
	s.Room, s.Kind, s.User, s.Seq = letter.Job.Room, hintAgain, letter.User, letter.FromSeq
	if err := h.bus.Publish(ctx, channelOf(shardOf(s.Room)), appendSignal(nil, s)); err != nil {
		h.log.Warn("hint not published", "error", err)
	}
}
