package application

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Slots bound how many of a kind there are on all nodes together, as the sockets of a user: there are so many numbered
// slots, and who takes one holds it by a lease that ends with its node. They are kept where presence is, as users whom no
// tenant can have. While that cannot be asked, each node bounds its own, and notes them when it can be asked again.
type Slots struct {
	port ports.Presence
	log  *slog.Logger
	node string

	mu      sync.Mutex
	asked   map[ports.TenantUser]struct{} // a Take here is at them
	held    map[ports.TenantUser]struct{}
	left    map[ports.TenantUser]struct{} // given up, and not told yet: they can be taken again here
	away    bool                          // the port could not be asked the last time
	changed chan struct{}
}

// Slot is one that is held, until Release.
type Slot struct {
	of *Slots
	at ports.TenantUser
}

const (
	slotLease   = 12 * time.Second // for so long a node that has died holds up those who come back
	slotRenew   = slotLease / 4
	slotTimeout = time.Second
	slotMark    = "\x1f" // no user's id has a control character
)

// NewSlots wires the component; Run it.
func NewSlots(port ports.Presence, ids ports.IDs, log *slog.Logger) *Slots {
	return &Slots{
		port: port, log: log, node: ids.NewUUID().String(), asked: map[ports.TenantUser]struct{}{},
		held: map[ports.TenantUser]struct{}{}, left: map[ports.TenantUser]struct{}{}, changed: make(chan struct{}, 1),
	}
}

// Take takes one of the slots of a name; domain.ErrTooManySockets when all are taken.
func (s *Slots) Take(ctx context.Context, tenant domain.TenantID, name string, slots int) (*Slot, error) {
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	all := slotsOf(tenant, name, slots)
	if slot := s.again(all); slot != nil {
		return slot, nil
	}
	free, err := s.free(ctx, tenant, all)
	for _, at := range free {
		var taken bool
		if taken, err = s.ask(ctx, at); err != nil {
			break
		}
		if taken {
			s.note(nil)
			return &Slot{s, at}, nil
		}
	}
	s.note(err)
	if err != nil {
		for _, at := range all { // which of them others hold is found out with the next renewal, and harms nobody
			if s.begin(at) {
				s.end(at, true)
				return &Slot{s, at}, nil
			}
		}
	}
	return nil, domain.ErrTooManySockets
}

// ask takes one that seems free, if nobody is faster. A lease that has passed, and of which nobody was told yet, is in the
// way: the port takes that for a return. It, and what was noted in vain, ends with the Leave; then the slot is free.
func (s *Slots) ask(ctx context.Context, at ports.TenantUser) (taken bool, err error) {
	if !s.begin(at) {
		return false, nil
	}
	defer func() { s.end(at, taken) }()
	one := []ports.TenantUser{at}
	for range 2 {
		arrived, err := s.port.Arrive(ctx, s.node, one, slotLease)
		if err != nil || len(arrived) > 0 {
			return err == nil, err
		}
		if left, _, err := s.port.Leave(ctx, s.node, one); err != nil || len(left) == 0 {
			return false, err
		}
	}
	return false, nil
}

// begin reports whether a slot is nobody's on this node, whatever the port says, which may have forgotten. Until end it is
// the caller's to ask for: a lease is the node's, and the Leave of another call would end it.
func (s *Slots) begin(at ports.TenantUser) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, others := range []map[ports.TenantUser]struct{}{s.asked, s.held, s.left} {
		if _, ok := others[at]; ok {
			return false
		}
	}
	s.asked[at] = struct{}{}
	return true
}

func (s *Slots) end(at ports.TenantUser, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.asked, at); taken {
		s.held[at] = struct{}{}
	}
}

// note logs when the port cannot be asked any more: not for each of those who come meanwhile.
func (s *Slots) note(err error) {
	s.mu.Lock()
	changed := s.away != (err != nil)
	s.away = err != nil
	s.mu.Unlock()
	if changed && err != nil {
		s.log.Warn("slots cannot be counted on all nodes", "error", err)
	}
}

func slotsOf(tenant domain.TenantID, name string, slots int) []ports.TenantUser {
	all := make([]ports.TenantUser, slots)
	for i := range all {
		all[i] = ports.TenantUser{Tenant: tenant, User: domain.UserID(slotMark + name + slotMark + strconv.Itoa(i))}
	}
	return all
}

// isSlot reports whether a user of the presence port is a slot.
func isSlot(u ports.TenantUser) bool { return strings.HasPrefix(string(u.User), slotMark) }

// again takes one that was given up here a moment ago.
func (s *Slots) again(all []ports.TenantUser) *Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range all {
		if _, ok := s.left[at]; ok {
			delete(s.left, at)
			s.held[at] = struct{}{}
			return &Slot{s, at}
		}
	}
	return nil
}

// free are those that nobody holds.
func (s *Slots) free(ctx context.Context, tenant domain.TenantID, all []ports.TenantUser) ([]ports.TenantUser, error) {
	names := make([]domain.UserID, len(all))
	for i, at := range all {
		names[i] = at.User
	}
	taken, err := s.port.Online(ctx, tenant, names)
	if err != nil {
		return nil, err
	}
	var free []ports.TenantUser
	for _, at := range all {
		if !taken[at.User] {
			free = append(free, at)
		}
	}
	return free, nil
}

// Release gives the slot up, once.
func (l *Slot) Release() {
	if l == nil {
		return
	}
	s := l.of
	s.mu.Lock()
	if _, ok := s.held[l.at]; ok {
		delete(s.held, l.at)
		s.left[l.at] = struct{}{}
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run renews what is held and tells what was given up, until ctx ends; then all of it is given up.
func (s *Slots) Run(ctx context.Context) error {
	tick := time.NewTicker(slotRenew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), slotTimeout)
			defer cancel()
			s.giveUp(last, s.all())
			return nil
		case <-s.changed:
			s.giveUp(ctx, s.takeLeft())
		case <-tick.C:
			s.renew(ctx)
			s.giveUp(ctx, s.takeLeft())
		}
	}
}

func (s *Slots) renew(ctx context.Context) {
	for part := range slices.Chunk(s.holding(), presenceStep) {
		if _, err := s.port.Arrive(ctx, s.node, part, slotLease); err != nil {
			s.log.Warn("slots not renewed", "error", err, "slots", len(part))
			return
		}
	}
}

// giveUp tells that slots are free. What cannot be told is free when its lease has passed.
func (s *Slots) giveUp(ctx context.Context, slots []ports.TenantUser) {
	for part := range slices.Chunk(slots, presenceStep) {
		if _, _, err := s.port.Leave(ctx, s.node, part); err != nil {
			s.log.Warn("slots not given up before their lease passes", "error", err, "slots", len(part))
			return
		}
	}
}

func (s *Slots) holding() (slots []ports.TenantUser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.held {
		slots = append(slots, at)
	}
	return slots
}

// takeLeft takes what was given up. From then on it is as free here as elsewhere.
func (s *Slots) takeLeft() (slots []ports.TenantUser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := range s.left {
		slots = append(slots, at)
	}
	clear(s.left)
	return slots
}

func (s *Slots) all() []ports.TenantUser { return append(s.takeLeft(), s.holding()...) }
