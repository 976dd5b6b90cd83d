package application

import (
	"context"
	"errors"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Rooms makes, changes and removes rooms and keeps their members.
type Rooms struct {
	store  ports.Store
	ids    ports.IDs
	clock  ports.Clock
	upkeep *Upkeep
	busy   *inFlight
}

// NewRooms wires the use case.
func NewRooms(store ports.Store, ids ports.IDs, clock ports.Clock, upkeep *Upkeep) *Rooms {
	return &Rooms{store: store, ids: ids, clock: clock, upkeep: upkeep, busy: newInFlight()}
}

// Created is the outcome of creating a room. Replayed: an earlier request with the same Idempotency-Key made it.
type Created struct {
	Room     domain.Room
	Replayed bool
}

// Create makes a room with its members, or nothing at all. A direct message that exists is domain.ErrDMExists with
// the existing room in its Room field.
func (r *Rooms) Create(ctx context.Context, c Caller, draft domain.RoomDraft, key *domain.Idempotency) (Created, error) {
	now := r.clock.Now()
	room, members, err := domain.NewRoom(c.Actor, draft, domain.RoomID(r.ids.NewUUID()), now)
	if err != nil {
		return Created{}, err
	}
	done, err := r.busy.enter(c.Tenant.ID, key)
	if err != nil {
		return Created{}, err
	}
	defer done()
	return ports.Update(ctx, r.store, c.Tenant.ID, func(tx ports.Tx) (Created, error) {
		if before, err := replayed(tx, key, now); err != nil || before != nil {
			return replayedRoom(tx, before, err)
		}
		created, err := tx.CreateRoom(room, members)
		if errors.Is(err, domain.ErrDMExists) {
			return Created{}, existingDM(tx, room.UniqueKey)
		}
		if err != nil {
			return Created{}, err
		}
		return Created{Room: created}, keep(tx, key, statusCreated, created.ID.String(), now)
	})
}

func existingDM(tx ports.RoomReader, key string) error {
	room, err := tx.RoomByKey(key)
	if err != nil {
		return err
	}
	conflict := *domain.ErrDMExists
	conflict.Room = &room
	return &conflict
}

func replayedRoom(tx ports.RoomReader, before *domain.IdempotencyRecord, err error) (Created, error) {
	if err != nil {
		return Created{}, err
	}
	id, _ := domain.ParseRoomID(before.Resource)
	room, _, err := tx.Access(id, "")
	return Created{Room: room, Replayed: true}, err
}

// Get returns a room.
func (r *Rooms) Get(ctx context.Context, c Caller, id domain.RoomID) (domain.Room, error) {
	return ports.View(ctx, r.store, c.Tenant.ID, func(v ports.Reader) (domain.Room, error) {
		return access(v, c, id, domain.ActRead)
	})
}

// List returns the caller's rooms, or the tenant's for its backend, and whether there are more.
func (r *Rooms) List(ctx context.Context, c Caller, q domain.RoomQuery) ([]domain.RoomSummary, bool, error) {
	q.User = c.User
	limit := q.Limit
	q.Limit++
	found, err := ports.View(ctx, r.store, c.Tenant.ID, func(v ports.Reader) ([]domain.RoomSummary, error) {
		return v.Rooms(q)
	})
	if len(found) > limit {
		return found[:limit], true, err
	}
	return found, false, err
}

// Update changes a room's name and metadata. A change that changes nothing takes no rev.
func (r *Rooms) Update(ctx context.Context, c Caller, id domain.RoomID, patch domain.RoomPatch) (domain.Room, error) {
	now := r.clock.Now()
	return ports.Update(ctx, r.store, c.Tenant.ID, func(tx ports.Tx) (domain.Room, error) {
		room, err := access(tx, c, id, domain.ActUpdateRoom)
		if err != nil {
			return room, err
		}
		patched, changed, err := patch.Apply(room)
		if err != nil || !changed {
			return room, err
		}
		return tx.UpdateRoom(patched, now)
	})
}

// Remove ends a room for all its members at once; what it held is purged in small steps.
func (r *Rooms) Remove(ctx context.Context, c Caller, id domain.RoomID) error {
	now := r.clock.Now()
	err := r.store.Update(ctx, c.Tenant.ID, func(tx ports.Tx) error {
		if _, err := access(tx, c, id, domain.ActRemoveRoom); err != nil {
			return err
		}
		return tx.RemoveRoom(id, now)
	})
	if err == nil {
		r.upkeep.Wake()
	}
	return err
}

// Join makes the caller a member of a channel; who is one already stays as they are. The first in an empty channel is
// its admin.
func (r *Rooms) Join(ctx context.Context, c Caller, id domain.RoomID) error {
	if c.User == "" {
		return domain.ErrUserRequired
	}
	now := r.clock.Now()
	return r.store.Update(ctx, c.Tenant.ID, func(tx ports.Tx) error {
		room, member, err := tx.Access(id, c.User)
		if err != nil {
			return err
		}
		if err := domain.CheckJoin(room, member); err != nil {
			return err
		}
		role := domain.RoleMember
		if room.Members == 0 {
			role = domain.RoleAdmin
		}
		_, err = tx.AddMember(id, c.User, role, now)
		return err
	})
}

// Members returns a room's members by join time, and whether there are more.
func (r *Rooms) Members(ctx context.Context, c Caller, id domain.RoomID, offset, limit int) ([]domain.Member, bool, error) {
	found, err := ports.View(ctx, r.store, c.Tenant.ID, func(v ports.Reader) ([]domain.Member, error) {
		if _, err := access(v, c, id, domain.ActListMembers); err != nil {
			return nil, err
		}
		return v.Members(id, offset, limit+1)
	})
	if len(found) > limit {
		return found[:limit], true, err
	}
	return found, false, err
}

// NewMembers names who is to be added: one user, or up to 100, with a role.
type NewMembers struct {
	UserID  string
	UserIDs []string
	Role    string
}

// AddMembers adds users to a room, all or none; one who is in it already stays as they are. The first in an empty room is
// its admin.
func (r *Rooms) AddMembers(ctx context.Context, c Caller, id domain.RoomID, in NewMembers, key *domain.Idempotency) (replay bool, err error) {
	role, err := domain.CheckRole(in.Role)
	if err != nil {
		return false, err
	}
	done, err := r.busy.enter(c.Tenant.ID, key)
	if err != nil {
		return false, err
	}
	defer done()
	now := r.clock.Now()
	return ports.Update(ctx, r.store, c.Tenant.ID, func(tx ports.Tx) (bool, error) {
		room, err := changeMembers(tx, c, id, domain.ActManageMembers)
		if err != nil {
			return false, err
		}
		if before, err := replayed(tx, key, now); err != nil || before != nil {
			return before != nil, err
		}
		users, err := domain.CheckNewMembers(room, in.UserID, in.UserIDs)
		if err != nil {
			return false, err
		}
		for i, user := range users {
			as := role
			if i == 0 && room.Members == 0 {
				as = domain.RoleAdmin
			}
			if _, err := tx.AddMember(id, user, as, now); err != nil {
				return false, err
			}
		}
		return false, keep(tx, key, statusNoContent, id.String(), now)
	})
}

// RemoveMember takes a user out of a room; leaving oneself needs no right. When the last admin goes, the longest
// member takes over. The members of a direct message are fixed.
func (r *Rooms) RemoveMember(ctx context.Context, c Caller, id domain.RoomID, user domain.UserID) error {
	act := domain.ActManageMembers
	if user == c.User && user != "" {
		act = domain.ActLeave
	}
	now := r.clock.Now()
	_, err := ports.Update(ctx, r.store, c.Tenant.ID, func(tx ports.Tx) (domain.Member, error) {
		if _, err := changeMembers(tx, c, id, act); err != nil {
			return domain.Member{}, err
		}
		left, err := tx.RemoveMember(id, user, now)
		if err != nil || left.Role != domain.RoleAdmin {
			return left, err
		}
		return left, promoteSuccessor(tx, id, now)
	})
	return err
}

// changeMembers reads a room whose members are to change and asks the rights table. The members of a direct message are
// fixed: whoever is no stranger to it is told that, with the right to change members or without.
func changeMembers(r ports.RoomReader, c Caller, id domain.RoomID, act domain.Action) (domain.Room, error) {
	room, member, err := r.Access(id, c.User)
	if err != nil {
		return domain.Room{}, err
	}
	if room.Type == domain.RoomDM && c.Standing(member) != domain.StandingStranger {
		return domain.Room{}, domain.ErrDMFixed
	}
	return room, domain.Authorize(c.Actor, act, member)
}

// promoteSuccessor applies the last-admin rule after an admin has left: the longest member takes over, unless there is
// another admin.
func promoteSuccessor(tx ports.Tx, id domain.RoomID, now time.Time) error {
	longest, admin, err := tx.Succession(id, "")
	if err != nil || admin || longest == "" {
		return err
	}
	_, err = tx.SetRole(id, longest, domain.RoleAdmin, now)
	return err
}

// SetRole makes a member an admin or an admin a member. The last admin stays one.
func (r *Rooms) SetRole(ctx context.Context, c Caller, id domain.RoomID, user domain.UserID, role string) error {
	to, err := domain.CheckNewRole(role)
	if err != nil {
		return err
	}
	now := r.clock.Now()
	return r.store.Update(ctx, c.Tenant.ID, func(tx ports.Tx) error {
		if _, err := changeMembers(tx, c, id, domain.ActManageMembers); err != nil {
			return err
		}
		member, err := tx.Member(id, user)
		if err != nil {
			return err
		}
		if member.IsAdmin() && to == domain.RoleMember {
			_, another, err := tx.Succession(id, user)
			if err != nil {
				return err
			}
			if !another {
				return domain.ErrLastAdmin
			}
		}
		_, err = tx.SetRole(id, user, to, now)
		return err
	})
}
