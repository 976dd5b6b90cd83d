package application

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Presence tells who is online. A user is from the first socket on any node to domain.PresenceGrace after the last, so
// that a reconnect within it is invisible. Those who share a room of at most domain.MaxHintMembers are told; of others
// one asks.
type Presence struct {
	store ports.Store
	port  ports.Presence
	bus   ports.Bus
	enc   ports.Encoder
	clock ports.Clock
	log   *slog.Logger
	node  string

	mu      sync.Mutex
	users   map[ports.TenantUser]*attendance
	stirred map[ports.TenantUser]struct{} // those of them whom the port is to be told something of, now or when the grace is over
	changed chan struct{}                 // somebody has come, and has been seated

	owed map[ports.TenantUser]string // who is to be announced, and as what; Run's own
	said announced
}

// attendance is a user with sockets on this node, now or a moment ago.
type attendance struct {
	here   bool
	told   bool      // the port knows
	unsure bool      // or may know: it was told, and has not answered
	noted  bool      // when the user was last seen is in the store
	leftAt time.Time // when the last socket closed; monotonic

	rooms  []domain.RoomID // the user's small ones, until they are told
	seated bool            // they are known
}

const (
	presenceLease  = 30 * time.Second
	presenceRenew  = presenceLease / 3
	presenceExpire = 5 * time.Second
	presenceTick   = 500 * time.Millisecond
	presenceStep   = 500 // users in one call or unit of work
	presenceLeave  = 2 * time.Second

	presencePayload = 64 << 10 // bytes
)

// presenceChannel carries who has come and gone, with the rooms whose members are to be told.
const presenceChannel = "presence"

// NewPresence wires the component; Run it.
func NewPresence(store ports.Store, port ports.Presence, bus ports.Bus, enc ports.Encoder, ids ports.IDs, clock ports.Clock,
	log *slog.Logger) *Presence {
	return &Presence{
		store: store, port: port, bus: bus, enc: enc, clock: clock, log: log, node: ids.NewUUID().String(),
		users: map[ports.TenantUser]*attendance{}, stirred: map[ports.TenantUser]struct{}{}, changed: make(chan struct{}, 1),
		owed: map[ports.TenantUser]string{}, said: announced{users: map[ports.TenantUser]*announcement{}},
	}
}

// came notes a user's first socket on this node. It is told within a presenceTick, or as soon as the user's rooms are
// known.
func (p *Presence) came(u ports.TenantUser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.users[u]
	if a == nil {
		a = &attendance{}
		p.users[u] = a
	}
	a.here, a.noted = true, false
	p.stirred[u] = struct{}{}
}

// seated notes the small rooms of a user who has come, so that they need not be asked for.
func (p *Presence) seated(u ports.TenantUser, small []domain.RoomID) {
	p.mu.Lock()
	a := p.users[u]
	if a == nil || a.told {
		p.mu.Unlock()
		return
	}
	a.rooms, a.seated = small, true
	p.mu.Unlock()
	signalTo(p.changed)
}

// takeRooms takes the small rooms of those users who have come and whose rooms are known.
func (p *Presence) takeRooms(tenant domain.TenantID, users []domain.UserID) map[domain.UserID][]domain.RoomID {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[domain.UserID][]domain.RoomID{}
	for _, user := range users {
		if a := p.users[ports.TenantUser{Tenant: tenant, User: user}]; a != nil && a.seated {
			known[user] = a.rooms
			a.rooms, a.seated = nil, false
		}
	}
	return known
}

// went notes that a user's last socket on this node has closed.
func (p *Presence) went(u ports.TenantUser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.users[u]; a != nil {
		a.here, a.leftAt = false, time.Now()
		p.stirred[u] = struct{}{}
	}
}

// Status tells who of the users named is online, in the order asked: those who share a room with the caller, the caller
// too; to the backend anybody known. Others are left out.
func (p *Presence) Status(ctx context.Context, c Caller, ids []string) ([]domain.Status, error) {
	asked, err := domain.CheckPresenceQuery(ids)
	if err != nil {
		return nil, err
	}
	known, err := ports.View(ctx, p.store, c.Tenant.ID, func(r ports.Reader) ([]domain.User, error) {
		return r.RoomMates(c.User, asked)
	})
	if err != nil {
		return nil, err
	}
	online, err := p.port.Online(ctx, c.Tenant.ID, asked)
	if err != nil {
		return nil, err
	}
	now := p.clock.Now()
	statuses := make([]domain.Status, 0, len(known))
	for _, user := range asked {
		i := slices.IndexFunc(known, func(u domain.User) bool { return u.ID == user })
		if i < 0 {
			continue
		}
		status := domain.Status{User: user, Online: online[user], LastSeen: known[i].LastSeen}
		if status.Online {
			status.LastSeen = now
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}

// Run tells who comes and goes until ctx ends. Then this node's users have the grace to appear on another.
func (p *Presence) Run(ctx context.Context) error {
	cancel, err := p.bus.Subscribe(presenceAgainChannel, p.said.hear)
	if err != nil {
		return err
	}
	defer cancel()
	tick := time.NewTicker(presenceTick)
	defer tick.Stop()
	renewed, expired := time.Now(), time.Now()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), presenceLeave)
			defer cancel()
			p.takeLeave(last)
			return nil
		case <-p.changed:
		case <-tick.C:
		}
		p.tellChanges(ctx)
		p.tellAgain(ctx)
		if now := time.Now(); now.Sub(renewed) >= presenceRenew {
			if p.renew(ctx, presenceLease) {
				renewed = now // else again in a moment: three that fail end the leases
			}
		}
		if now := time.Now(); now.Sub(expired) >= presenceExpire {
			p.expire(ctx)
			expired = now
		}
	}
}

// tellChanges tells the port, and then everybody concerned, who has come, and who has stayed away for the grace.
func (p *Presence) tellChanges(ctx context.Context) {
	came, gone := p.changes(time.Now())
	for part := range slices.Chunk(came, presenceStep) {
		arrived, err := p.port.Arrive(ctx, p.node, part, presenceLease)
		if err != nil {
			p.log.Warn("presence not noted yet", "error", err, "users", len(part))
			p.noteUnsure(part)
			continue
		}
		p.announce(ctx, append(arrived, p.unsureOf(part)...), domain.PresenceOnline)
		p.noteTold(part, true)
	}
	for part := range slices.Chunk(gone, presenceStep) {
		part, err := p.noteGone(ctx, part)
		if err != nil { // of tenants whose turn it was not
			p.log.Warn("last sight of users not noted yet", "error", err)
		}
		if len(part) == 0 {
			continue
		}
		left, unknown, err := p.port.Leave(ctx, p.node, part)
		if err != nil {
			p.log.Warn("absence not noted yet", "error", err, "users", len(part))
			continue
		}
		p.noteTold(part, false)
		p.announce(ctx, append(left, unknown...), domain.PresenceOffline) // of those unknown perhaps once more, which does no harm
	}
	p.announce(ctx, nil, "") // what was owed
}

// changes are the users whom the port does not know yet, and those whose grace is over.
func (p *Presence) changes(now time.Time) (came, gone []ports.TenantUser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for u := range p.stirred {
		switch a := p.users[u]; {
		case a == nil, a.here && a.told:
			delete(p.stirred, u)
		case a.here:
			came = append(came, u)
		case !a.told:
			delete(p.users, u)
			delete(p.stirred, u)
		case now.Sub(a.leftAt) >= domain.PresenceGrace:
			gone = append(gone, u)
		}
	}
	return came, gone
}

// noteUnsure notes that the port may have been told of users who have come, and may have said so to nobody.
func (p *Presence) noteUnsure(users []ports.TenantUser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range users {
		if a := p.users[u]; a != nil {
			a.unsure = true
		}
	}
}

// unsureOf are those of users of whom that was so: they are announced in any case, as twice does no harm.
func (p *Presence) unsureOf(users []ports.TenantUser) (unsure []ports.TenantUser) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range users {
		if a := p.users[u]; a != nil && a.unsure {
			a.unsure = false
			unsure = append(unsure, u)
		}
	}
	return unsure
}

// noteTold notes what the port knows. Who came back while it was told of the absence is told to it anew.
func (p *Presence) noteTold(users []ports.TenantUser, present bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range users {
		a := p.users[u]
		if a == nil {
			continue
		}
		if a.told = present; !present && !a.here {
			delete(p.users, u)
		}
	}
}

// renew prolongs the leases of this node's users, and reports whether it could.
func (p *Presence) renew(ctx context.Context, lease time.Duration) (renewed bool) {
	renewed = true
	for part := range slices.Chunk(p.told(), presenceStep) {
		arrived, err := p.port.Arrive(ctx, p.node, part, lease)
		if err != nil {
			p.log.Warn("presence not renewed", "error", err, "users", len(part))
			renewed = false
			continue
		}
		p.announce(ctx, arrived, domain.PresenceOnline) // of a port that has forgotten them
	}
	return renewed
}

func (p *Presence) told() []ports.TenantUser {
	p.mu.Lock()
	defer p.mu.Unlock()
	var users []ports.TenantUser
	for u, a := range p.users {
		if a.told {
			users = append(users, u)
		}
	}
	return users
}

// expire tells of the users of nodes that have died.
func (p *Presence) expire(ctx context.Context) {
	left, err := p.port.Expire(ctx)
	if errors.Is(err, domain.ErrAlone) {
		return // told of once, when the connection was lost
	}
	if err != nil {
		p.log.Warn("expired presence not looked up", "error", err)
		return
	}
	left = slices.DeleteFunc(left, isSlot)
	if _, err := p.sawLast(ctx, left); err != nil {
		p.log.Warn("last sight of users not noted", "error", err, "users", len(left))
	}
	p.announce(ctx, left, domain.PresenceOffline)
}

// takeLeave ends this node's part: whoever does not appear on another within the grace is offline then.
func (p *Presence) takeLeave(ctx context.Context) {
	p.renew(ctx, domain.PresenceGrace) // first: a store that is slow must not take its time
	users := p.told()
	if _, err := p.sawLast(ctx, users); err != nil {
		p.log.Warn("last sight of users not noted", "error", err, "users", len(users))
	}
}

// noteGone notes when users who have gone were last seen, once however often the port has to be told of it, and returns
// those of whom it is noted.
func (p *Presence) noteGone(ctx context.Context, users []ports.TenantUser) ([]ports.TenantUser, error) {
	p.mu.Lock()
	fresh := slices.DeleteFunc(slices.Clone(users), func(u ports.TenantUser) bool { a := p.users[u]; return a == nil || a.noted })
	p.mu.Unlock()
	missed, err := p.sawLast(ctx, fresh)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range fresh {
		if a := p.users[u]; a != nil && !missed[u.Tenant] {
			a.noted = !a.here
		}
	}
	return slices.DeleteFunc(slices.Clone(users), func(u ports.TenantUser) bool {
		a := p.users[u]
		return missed[u.Tenant] && a != nil && !a.noted
	}), err
}

// sawLast notes when users were last seen. missed are the tenants of whose users it could not be: one that keeps the store
// busy is no other's affair.
func (p *Presence) sawLast(ctx context.Context, users []ports.TenantUser) (missed map[domain.TenantID]bool, err error) {
	now := p.clock.Now()
	missed = map[domain.TenantID]bool{}
	for tenant, ids := range byTenant(users) {
		for part := range slices.Chunk(ids, presenceStep) {
			failed := ignoreGone(p.store.Update(ctx, tenant, func(tx ports.Tx) error { return tx.SawUsers(part, now) }))
			if failed != nil {
				missed[tenant], err = true, failed
				break
			}
		}
	}
	return missed, err
}

// announce tells every node who has come or gone, and whom it could not tell before.
func (p *Presence) announce(ctx context.Context, users []ports.TenantUser, state string) {
	for _, u := range users {
		p.owed[u] = state
	}
	byState := map[string][]ports.TenantUser{}
	for u, state := range p.owed {
		byState[state] = append(byState[state], u)
	}
	for state, users := range byState {
		for tenant, ids := range byTenant(users) {
			for part := range slices.Chunk(ids, presenceStep) {
				if err := p.tell(ctx, tenant, part, state); err != nil {
					p.log.Warn("presence not announced yet", "error", err, "users", len(part))
					continue
				}
				for _, id := range part {
					u := ports.TenantUser{Tenant: tenant, User: id}
					delete(p.owed, u)
					p.said.note(u, state, time.Now())
				}
			}
		}
	}
}

// tell hands to every node users who have come or gone, with the rooms whose members are to be told.
func (p *Presence) tell(ctx context.Context, tenant domain.TenantID, users []domain.UserID, state string) error {
	now := p.clock.Now()
	known := p.takeRooms(tenant, users)
	if state != domain.PresenceOnline {
		known = nil
	}
	payloads, err := ports.View(ctx, p.store, tenant, func(r ports.Reader) ([][]byte, error) {
		return p.payloads(r, tenant, users, known, state, now)
	})
	if err != nil {
		return ignoreGone(err)
	}
	for _, payload := range payloads {
		if err := p.bus.Publish(ctx, presenceChannel, payload); err != nil {
			return err
		}
	}
	return nil
}

// payloads are what is published of users, in pieces of about presencePayload.
func (p *Presence) payloads(r ports.UserReader, tenant domain.TenantID, users []domain.UserID, known map[domain.UserID][]domain.RoomID,
	state string, now time.Time) (all [][]byte, err error) {
	var payload []byte
	for _, user := range users {
		rooms, ok := known[user]
		if !ok {
			if rooms, err = r.SmallRooms(user, domain.MaxHintMembers); err != nil {
				return nil, err
			}
		}
		if len(rooms) == 0 {
			continue
		}
		hint := domain.Hint{Tenant: tenant, Kind: domain.HintPresence, User: user, State: state, At: now}
		if payload = appendPresence(payload, newHintSignal(p.enc, hint), rooms); len(payload) >= presencePayload {
			all, payload = append(all, payload), nil
		}
	}
	if payload != nil {
		all = append(all, payload)
	}
	return all, nil
}

func byTenant(users []ports.TenantUser) map[domain.TenantID][]domain.UserID {
	tenants := map[domain.TenantID][]domain.UserID{}
	for _, u := range users {
		tenants[u.Tenant] = append(tenants[u.Tenant], u.User)
	}
	return tenants
}

// appendPresence writes a hint and the rooms it concerns.
func appendPresence(dst []byte, s signal, rooms []domain.RoomID) []byte {
	dst = appendSignal(dst, s)
	dst = binary.AppendUvarint(dst, uint64(len(rooms)))
	for _, room := range rooms {
		dst = append(dst, room[:]...)
	}
	return dst
}

// readPresence reads what appendPresence wrote, and returns what follows it.
func readPresence(data []byte) (s signal, rooms []domain.RoomID, rest []byte, err error) {
	s, data, err = readSignal(data)
	if err != nil {
		return s, nil, nil, err
	}
	r := signalReader{data: data}
	for range min(r.number(), uint64(len(r.data))) {
		var room domain.RoomID
		copy(room[:], r.next(len(room)))
		rooms = append(rooms, room)
	}
	if r.failed {
		return s, nil, nil, errSignal
	}
	return s, rooms, r.data, nil
}
