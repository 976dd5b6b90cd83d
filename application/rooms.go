package application

import (
	"context"
	"errors"
	"slices"
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
		if err := checkBots(tx, room.ID, "members", usersOf(members)); err != nil {
			return Created{}, err
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

// List returns the caller's rooms, or the tenant's for its backend, and whether there are more. Chats are listed only when
// asked for.
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
		if empty, err := hasNobody(tx, room); err != nil {
			return err
		} else if empty {
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

// field is the one that the users were named in.
func (n NewMembers) field() string {
	if n.UserID != "" {
		return "user_id"
	}
	return "user_ids"
}

func usersOf(members []domain.Member) []domain.UserID {
	users := make([]domain.UserID, len(members))
	for i, m := range members {
		users[i] = m.User
	}
	return users
}

// hasNobody reports whether a room has no members, bots aside: the next to come is its admin.
func hasNobody(r ports.BotReader, room domain.Room) (bool, error) {
	if room.Members == 0 || room.Members > domain.MaxBotsPerRoom {
		return room.Members == 0, nil
	}
	bots, err := r.RoomBots(room.ID)
	return int64(len(bots)) == room.Members, err
}

// checkBots looks whether the bots among new members exist, and whether the room has a place for them.
func checkBots(r ports.BotReader, room domain.RoomID, field string, users []domain.UserID) error {
	var bots []domain.BotID
	for _, user := range users {
		if bot, ok := user.Bot(); ok {
			bots = append(bots, bot)
		}
	}
	if len(bots) == 0 {
		return nil
	}
	for _, bot := range bots {
		if _, err := r.Bot(bot); errors.Is(err, domain.ErrBotNotFound) {
			return domain.ErrUnknownBot(field)
		} else if err != nil {
			return err
		}
	}
	there, err := r.RoomBots(room)
	if ignoreGone(err) != nil {
		return err
	}
	for _, bot := range bots {
		if !slices.Contains(there, bot) {
			there = append(there, bot)
		}
	}
	if len(there) > domain.MaxBotsPerRoom {
		return domain.ErrTooManyBots
	}
	return nil
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
		before, err := replayed(tx, key, now) // the key first: what is locked is locked in one order everywhere
		if err != nil {
			return false, err
		}
		room, err := changeMembers(tx, c, id, domain.ActManageMembers)
		if err != nil || before != nil {
			return before != nil && err == nil, err
		}
		users, err := domain.CheckNewMembers(room, in.UserID, in.UserIDs)
		if err != nil {
			return false, err
		}
		if err := checkBots(tx, id, in.field(), users); err != nil {
			return false, err
		}
		first, err := hasNobody(tx, room)
		if err != nil {
			return false, err
		}
		for _, user := range users {
			as := role
			switch _, isBot := user.Bot(); {
			case isBot:
				as = domain.RoleMember
			case first:
				as, first = domain.RoleAdmin, false
			}
			if _, err := tx.AddMember(id, user, as, now); err != nil {
				return false, err
			}
		}
		return false, keep(tx, key, statusNoContent, id.String(), now)
	})
}

// RemoveMember takes a user out of a room; leaving oneself needs no right. When the last admin goes, the longest
// member takes over. The members of a direct message are fixed, and so is the owner of a chat.
func (r *Rooms) RemoveMember(ctx context.Context, c Caller, id domain.RoomID, user domain.UserID) error {
	act := domain.ActManageMembers
	if user == c.User && user != "" {
		act = domain.ActLeave
	}
	now := r.clock.Now()
	_, err := ports.Update(ctx, r.store, c.Tenant.ID, func(tx ports.Tx) (domain.Member, error) {
		room, err := changeMembers(tx, c, id, act)
		if err != nil {
			return domain.Member{}, err
		}
		if err := domain.CheckLeave(room, user); err != nil {
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
		if _, isBot := user.Bot(); isBot && to == domain.RoleAdmin {
			return domain.Invalid("role", "a bot is no admin")
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
