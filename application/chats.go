package application

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Chats makes and reads chats and opens sockets on them. A chat is a room like any other underneath: what is said in it
// goes the way of all messages, its bot answers as bots do, and whoever is a member of it natively sees the same.
type Chats struct {
	store     ports.Store
	rooms     *Rooms
	messaging *Messaging
	fanout    *Fanout
	tenants   CurrentTenants
	ids       ports.IDs
	clock     ports.Clock
	log       *slog.Logger
	leases    *chatLeases
	busy      *inFlight
}

// NewChats wires the use cases; Run them.
func NewChats(store ports.Store, rooms *Rooms, messaging *Messaging, fanout *Fanout, tenants CurrentTenants, presence ports.Presence,
	slots *Slots, ids ports.IDs, clock ports.Clock, log *slog.Logger) *Chats {
	return &Chats{
		store: store, rooms: rooms, messaging: messaging, fanout: fanout, tenants: tenants, ids: ids, clock: clock, log: log,
		leases: newChatLeases(presence, slots, ids.NewUUID().String(), log), busy: newInFlight(),
	}
}

// Run keeps what other nodes know of this one's sockets, until ctx ends.
func (c *Chats) Run(ctx context.Context) error {
	for sleep(ctx, presenceRenew) {
		c.leases.renew(ctx)
	}
	return nil
}

// CreatedChat is the outcome of making a chat. Replayed: an earlier request with the same Idempotency-Key made it.
type CreatedChat struct {
	domain.Chat
	Replayed bool
}

// Create makes a chat of a user's, who exists from then on at the latest, with the tenant's chat bot when there is one.
// Errors: validation, domain.ErrForbidden, domain.ErrIdempotency, domain.ErrIdempotencyBusy, and those of ports.Store.
func (c *Chats) Create(ctx context.Context, caller Caller, draft domain.ChatDraft, key *domain.Idempotency) (CreatedChat, error) {
	now := c.clock.Now()
	room, owner, err := domain.NewChat(caller.Actor, draft, domain.RoomID(c.ids.NewUUID()), now)
	if err != nil {
		return CreatedChat{}, err
	}
	done, err := c.busy.enter(caller.Tenant.ID, key)
	if err != nil {
		return CreatedChat{}, err
	}
	defer done()
	return ports.Update(ctx, c.store, caller.Tenant.ID, func(tx ports.Tx) (CreatedChat, error) {
		before, err := replayed(tx, key, now)
		if err != nil {
			return CreatedChat{}, err
		}
		if before != nil {
			id, _ := domain.ParseRoomID(before.Resource)
			chat, err := readChat(tx, caller, id)
			return CreatedChat{Chat: chat, Replayed: true}, err
		}
		members := []domain.Member{owner}
		bot, ok, err := chatBot(tx, caller.Tenant.Config)
		if err != nil {
			return CreatedChat{}, err
		}
		if ok {
			members = append(members, domain.Member{User: bot.User(), Role: domain.RoleMember, State: domain.Active, JoinedAt: now})
		}
		made, err := tx.CreateRoom(room, members)
		if err != nil {
			return CreatedChat{}, err
		}
		return CreatedChat{Chat: domain.ChatOf(made, nil, nil, now)}, keep(tx, key, statusCreated, made.ID.String(), now)
	})
}

// chatBot is the bot that answers in a tenant's chats: the one that its config names, else its only one. In a unit of work it
// is not removed before that has made it a member: it is asked for by its id, whoever named it.
func chatBot(r ports.BotReader, config domain.TenantConfig) (id domain.BotID, ok bool, err error) {
	if id, ok, err = namedChatBot(r, config); err != nil || !ok {
		return id, false, err
	}
	_, err = r.Bot(id)
	return id, err == nil, ignoreGone(err)
}

func namedChatBot(r ports.BotReader, config domain.TenantConfig) (id domain.BotID, ok bool, err error) {
	if config.ChatBotID != nil {
		id, ok = domain.ParseBotID(*config.ChatBotID)
		return id, ok, nil
	}
	bots, err := r.Bots(0, 2)
	if err != nil || len(bots) != 1 {
		return id, false, err
	}
	return bots[0].ID, true, nil
}

// findChat reads the room of a chat that the caller owns or is a member of, or any for the backend; everything else is
// domain.ErrChatNotFound.
func findChat(r ports.RoomReader, caller Caller, id domain.RoomID) (domain.Room, *domain.Member, error) {
	room, member, err := r.Access(id, caller.User)
	switch {
	case errors.Is(err, domain.ErrRoomNotFound):
		return room, nil, domain.ErrChatNotFound
	case err != nil:
		return room, nil, err
	case room.Type != domain.RoomChat, caller.Standing(member) == domain.StandingStranger:
		return domain.Room{}, nil, domain.ErrChatNotFound
	}
	return room, member, nil
}

func readChat(r ports.Reader, caller Caller, id domain.RoomID) (domain.Chat, error) {
	room, _, err := findChat(r, caller, id)
	if err != nil {
		return domain.Chat{}, err
	}
	last, err := r.MessagesBefore(id, room.LastSeq+1, 1)
	if err != nil {
		return domain.Chat{}, err
	}
	return describeChat(r, room, firstOf(last))
}

// describeChat adds to a chat's room what its log tells.
func describeChat(r ports.Reader, room domain.Room, last *domain.Message) (domain.Chat, error) {
	var first []domain.Message
	var err error
	if room.Name == nil && last != nil {
		if first, err = r.MessagesAfter(room.ID, room.FirstSeq-1, 1); err != nil {
			return domain.Chat{}, err
		}
	}
	changed := room.CreatedAt
	steps, err := r.Events(ports.EventQuery{Room: room.ID, After: room.LastRev - 1, Limit: 1})
	if err != nil {
		return domain.Chat{}, err
	}
	if len(steps) > 0 {
		changed = steps[0].At
	}
	return domain.ChatOf(room, firstOf(first), last, changed), nil
}

func firstOf(messages []domain.Message) *domain.Message {
	if len(messages) == 0 {
		return nil
	}
	return &messages[0]
}

// Get returns a chat.
func (c *Chats) Get(ctx context.Context, caller Caller, id domain.RoomID) (domain.Chat, error) {
	return ports.View(ctx, c.store, caller.Tenant.ID, func(v ports.Reader) (domain.Chat, error) { return readChat(v, caller, id) })
}

// List returns the chats that a user owns by the time of making, and how many there are. None at all is
// domain.ErrNoChats, and so are another user's for a caller who is one.
func (c *Chats) List(ctx context.Context, caller Caller, user string, page domain.ChatPage) (chats []domain.Chat, total int, err error) {
	owner, err := domain.CheckUserID("user_id", user)
	if err != nil || caller.CheckUser(owner) != nil {
		return nil, 0, domain.ErrNoChats
	}
	q := ports.KeyQuery{Prefix: domain.ChatKeys(owner), Backwards: page.Newest, Offset: page.Offset, Limit: page.Limit}
	err = c.store.View(ctx, caller.Tenant.ID, func(v ports.Reader) error {
		chats = nil
		var rooms []domain.RoomSummary
		if rooms, total, err = v.RoomsByKey(q); err != nil {
			return err
		}
		for _, found := range rooms {
			chat, err := describeChat(v, found.Room, found.LastMessage)
			if err != nil {
				return err
			}
			chats = append(chats, chat)
		}
		return nil
	})
	if err == nil && total == 0 {
		err = domain.ErrNoChats
	}
	return chats, total, err
}

// ChatHistory is a page of a chat's messages in the order asked for, tombstones included.
type ChatHistory struct {
	Owner    domain.UserID
	Messages []domain.Message
	Total    int
}

// History returns a page of a chat's messages in order of seq, or against it. Its cost is the page's, wherever it begins.
func (c *Chats) History(ctx context.Context, caller Caller, id domain.RoomID, page domain.ChatPage) (ChatHistory, error) {
	return ports.View(ctx, c.store, caller.Tenant.ID, func(v ports.Reader) (h ChatHistory, err error) {
		room, _, err := findChat(v, caller, id)
		if err != nil {
			return h, err
		}
		h.Owner, h.Total = room.ChatOwner(), int(room.LastSeq-room.FirstSeq+1)
		switch {
		case page.Offset >= h.Total:
		case page.Newest:
			h.Messages, err = v.MessagesBefore(id, room.LastSeq-int64(page.Offset)+1, page.Limit)
			slices.Reverse(h.Messages)
		default:
			h.Messages, err = v.MessagesAfter(id, room.FirstSeq-1+int64(page.Offset), page.Limit)
		}
		return h, err
	})
}

// Remove ends a chat: nothing of it can be read from then on, and what it held is purged in small steps. While a socket is
// open on it, on any node, it is domain.ErrChatInUse, and domain.ErrAlone when other nodes cannot be asked. A socket that is opened at the same moment is closed.
func (c *Chats) Remove(ctx context.Context, caller Caller, id domain.RoomID) (at time.Time, err error) {
	err = c.store.View(ctx, caller.Tenant.ID, func(v ports.Reader) error {
		_, member, err := findChat(v, caller, id)
		if err != nil {
			return err
		}
		return domain.Authorize(caller.Actor, domain.ActRemoveRoom, member)
	})
	if err != nil {
		return at, err
	}
	open, err := c.leases.isOpen(ctx, caller.Tenant.ID, id)
	if err != nil {
		c.log.Warn("chat not deleted: nobody knows whether it is open elsewhere", "error", err)
		return at, domain.ErrAlone
	}
	if open {
		return at, domain.ErrChatInUse
	}
	at = c.clock.Now()
	if err = c.rooms.Remove(ctx, caller, id); errors.Is(err, domain.ErrRoomNotFound) {
		err = domain.ErrChatNotFound
	}
	return at, err
}
