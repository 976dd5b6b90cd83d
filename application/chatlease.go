package application

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// chatLeases tell all nodes which chats have sockets open, and bound how many a tenant has. Besides the slot of the socket they
// are leases of presence under names that no user can have: one for the chat, and one for the chat and the user.
type chatLeases struct {
	port  ports.Presence
	slots *Slots
	node  string
	log   *slog.Logger

	mu      sync.Mutex
	tenants map[domain.TenantID]*tenantLeases
}

// tenantLeases are those of one tenant on this node.
type tenantLeases struct {
	turn  chan struct{}         // held while the port is told, so that it hears of one name in order
	users int                   // that hold the turn or wait for it
	names map[domain.UserID]int // how many sockets each stands for; guarded by chatLeases.mu
}

// chatLease is what one socket holds.
type chatLease struct {
	tenant domain.TenantID
	slot   *Slot
	names  []domain.UserID
}

func chatName(room domain.RoomID) domain.UserID {
	return domain.UserID(slotMark + "chat" + slotMark + domain.UUID(room).String())
}

func chatUserName(room domain.RoomID, user domain.UserID) domain.UserID {
	return chatName(room) + slotMark + user
}

func newChatLeases(port ports.Presence, slots *Slots, node string, log *slog.Logger) *chatLeases {
	return &chatLeases{port: port, slots: slots, node: node, log: log, tenants: map[domain.TenantID]*tenantLeases{}}
}

// enter waits for the turn of a tenant.
func (l *chatLeases) enter(ctx context.Context, tenant domain.TenantID) (t *tenantLeases, leave func(), err error) {
	l.mu.Lock()
	t = l.tenants[tenant]
	if t == nil {
		t = &tenantLeases{turn: make(chan struct{}, 1), names: map[domain.UserID]int{}}
		l.tenants[tenant] = t
	}
	t.users++
	l.mu.Unlock()
	forget := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.users--; t.users == 0 && len(t.names) == 0 {
			delete(l.tenants, tenant)
		}
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		forget()
		return nil, nil, ctx.Err()
	}
	return t, func() { <-t.turn; forget() }, nil
}

// open takes a slot for a socket; domain.ErrTooManyWatched when there is none. What the port cannot be told now it is told
// with the next renewal: until then a socket counts on its node alone.
func (l *chatLeases) open(ctx context.Context, tenant domain.Tenant, room domain.RoomID, user domain.UserID) (chatLease, error) {
	slot, err := l.slots.Take(ctx, tenant.ID, "chats", tenant.Config.ChatSockets())
	if errors.Is(err, domain.ErrTooManySockets) {
		err = domain.ErrTooManyWatched
	}
	if err != nil {
		return chatLease{}, err
	}
	t, leave, err := l.enter(ctx, tenant.ID)
	if err != nil {
		slot.Release()
		return chatLease{}, err
	}
	defer leave()
	lease := chatLease{tenant.ID, slot, []domain.UserID{chatName(room), chatUserName(room, user)}}
	l.mu.Lock()
	for _, name := range lease.names {
		t.names[name]++
	}
	l.mu.Unlock()
	if _, err := l.port.Arrive(ctx, l.node, tenantUsers(tenant.ID, lease.names), presenceLease); err != nil {
		l.log.Warn("open chat not noted yet", "error", err)
	}
	return lease, nil
}

// close gives back what a socket holds.
func (l *chatLeases) close(ctx context.Context, lease chatLease) {
	lease.slot.Release()
	t, leave, err := l.enter(ctx, lease.tenant)
	if err != nil {
		l.log.Warn("closed chat not noted", "error", err) // it is over with this node
		return
	}
	defer leave()
	var over []domain.UserID
	l.mu.Lock()
	for _, name := range lease.names {
		if t.names[name]--; t.names[name] == 0 {
			delete(t.names, name)
			over = append(over, name)
		}
	}
	l.mu.Unlock()
	if _, _, err := l.port.Leave(ctx, l.node, tenantUsers(lease.tenant, over)); err != nil {
		l.log.Warn("closed chat not noted before its lease passes", "error", err)
	}
}

// isOpen reports whether a chat has a socket on any node.
func (l *chatLeases) isOpen(ctx context.Context, tenant domain.TenantID, room domain.RoomID) (bool, error) {
	name := chatName(room)
	l.mu.Lock()
	t := l.tenants[tenant]
	here := t != nil && t.names[name] > 0
	l.mu.Unlock()
	if here {
		return true, nil
	}
	online, err := l.port.Online(ctx, tenant, []domain.UserID{name})
	return online[name], err
}

// renew prolongs the leases of this node.
func (l *chatLeases) renew(ctx context.Context) {
	l.mu.Lock()
	tenants := slices.Collect(maps.Keys(l.tenants))
	l.mu.Unlock()
	for _, tenant := range tenants {
		if err := l.renewOf(ctx, tenant); err != nil && ctx.Err() == nil {
			l.log.Warn("open chats not renewed", "error", err)
		}
	}
}

// renewOf holds the turn: a name that is given back meanwhile must not come back.
func (l *chatLeases) renewOf(ctx context.Context, tenant domain.TenantID) error {
	t, leave, err := l.enter(ctx, tenant)
	if err != nil {
		return err
	}
	defer leave()
	l.mu.Lock()
	names := slices.Collect(maps.Keys(t.names))
	l.mu.Unlock()
	for part := range slices.Chunk(names, presenceStep) {
		if _, err := l.port.Arrive(ctx, l.node, tenantUsers(tenant, part), presenceLease); err != nil {
			return err
		}
	}
	return nil
}

func tenantUsers(tenant domain.TenantID, names []domain.UserID) []ports.TenantUser {
	users := make([]ports.TenantUser, len(names))
	for i, name := range names {
		users[i] = ports.TenantUser{Tenant: tenant, User: name}
	}
	return users
}

// inChat are those of the users who have a socket on the chat, on any node.
func inChat(ctx context.Context, port ports.Presence, tenant domain.TenantID, room domain.RoomID, users []domain.UserID) (map[domain.UserID]bool, error) {
	names := make([]domain.UserID, len(users))
	for i, user := range users {
		names[i] = chatUserName(room, user)
	}
	online, err := port.Online(ctx, tenant, names)
	there := make(map[domain.UserID]bool, len(users))
	for i, user := range users {
		there[user] = online[names[i]]
	}
	return there, err
}
