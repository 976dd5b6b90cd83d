package application

import (
	"context"
	"errors"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// ChatSocket is a socket on one chat.
type ChatSocket struct {
	Owner domain.UserID // of the chat
	Fresh bool          // the caller is a user whom the server has made by itself, and this is their first socket

	c      *Chats
	peer   *Peer
	caller Caller
	room   domain.RoomID
	lease  chatLease
}

// Connect opens a socket on a chat that the caller owns or is a member of. The sink may be pushed to before it returns.
// Errors: domain.ErrUserRequired, domain.ErrChatNotFound, domain.ErrTooManyWatched, domain.ErrUnauthenticated when the
// tenant is gone, and those of ports.Store.
func (c *Chats) Connect(ctx context.Context, caller Caller, id domain.RoomID, sink ports.Sink) (*ChatSocket, error) {
	if caller.User == "" {
		return nil, domain.ErrUserRequired
	}
	tenant, err := c.tenants.Tenant(ctx, caller.Tenant.ID)
	if err != nil {
		return nil, err
	}
	room, err := ports.View(ctx, c.store, tenant.ID, func(v ports.Reader) (domain.Room, error) {
		room, _, err := findChat(v, caller, id)
		return room, err
	})
	if err != nil {
		return nil, err
	}
	s := &ChatSocket{Owner: room.ChatOwner(), c: c, caller: caller, room: id}
	if s.lease, err = c.leases.open(ctx, tenant, id, caller.User); err != nil {
		return nil, err
	}
	if err := s.sit(ctx, sink); err != nil {
		c.leases.close(context.WithoutCancel(ctx), s.lease)
		return nil, err
	}
	return s, nil
}

// sit has the fan-out bring the chat's events from now on.
func (s *ChatSocket) sit(ctx context.Context, sink ports.Sink) (err error) {
	if s.Fresh, err = s.c.firstSight(ctx, s.caller); err != nil {
		return err
	}
	s.peer, err = s.c.fanout.Watch(ctx, s.caller, s.room, sink)
	if errors.Is(err, domain.ErrRoomNotFound) || errors.Is(err, domain.ErrNotMember) {
		return domain.ErrChatNotFound
	}
	return err
}

// firstSight notes the first socket of a user of whom nobody has said anything; fresh is true once.
func (c *Chats) firstSight(ctx context.Context, caller Caller) (fresh bool, err error) {
	unknown := func(r ports.UserReader) (bool, error) {
		u, err := r.User(caller.User)
		return err == nil && u.LastSeen.IsZero() && u.Name == nil && u.AvatarURL == nil && u.Metadata == nil, err
	}
	fresh, err = ports.View(ctx, c.store, caller.Tenant.ID, func(v ports.Reader) (bool, error) { return unknown(v) })
	if err != nil || !fresh {
		return false, err
	}
	now := c.clock.Now()
	return ports.Update(ctx, c.store, caller.Tenant.ID, func(tx ports.Tx) (bool, error) {
		fresh, err := unknown(tx)
		if err != nil || !fresh {
			return false, err
		}
		return true, tx.SawUsers([]domain.UserID{caller.User}, now)
	})
}

// SentChat is a message that was said in a chat. Unanswered: there is nobody to answer it, neither a bot nor people.
type SentChat struct {
	domain.Message
	Unanswered bool
}

// Send stores a message and returns once it is durable. In a chat that has no bot and is not the people's it looks for the
// tenant's chat bot once more. Errors: those of Messaging.Send; domain.ErrChatNotFound when the chat has ended, or the
// caller's part in it.
func (s *ChatSocket) Send(ctx context.Context, content string, metadata []byte) (SentChat, error) {
	answered, err := s.seeBot(ctx)
	if err != nil {
		return SentChat{}, err
	}
	sent, err := s.c.messaging.Send(ctx, s.caller, s.room, domain.Draft{Content: content, Meta: metadata}, nil)
	if errors.Is(err, domain.ErrRoomNotFound) || errors.Is(err, domain.ErrNotMember) {
		err = domain.ErrChatNotFound
	}
	return SentChat{sent.Message, !answered}, err
}

// seeBot reports whether there is anybody to answer, as the chat's status does, and has the tenant's chat bot join when there
// is no bot and people have not taken over.
func (s *ChatSocket) seeBot(ctx context.Context) (answered bool, err error) {
	var peopled bool
	look := func(r ports.Reader) (bool, error) {
		room, _, err := findChat(r, s.caller, s.room)
		peopled = room.Members > 1
		if err != nil || room.Handoff.IsHuman() {
			return err == nil, err
		}
		bots, err := r.RoomBots(s.room)
		return len(bots) > 0, err
	}
	answered, err = ports.View(ctx, s.c.store, s.caller.Tenant.ID, look)
	if err != nil || answered {
		return answered, err
	}
	tenant, err := s.c.tenants.Tenant(ctx, s.caller.Tenant.ID)
	if err != nil {
		return false, err
	}
	now := s.c.clock.Now()
	admit := func(r ports.Reader) (bot domain.BotID, ok bool, err error) { return chatBot(r, tenant.Config) }
	found, err := ports.View(ctx, s.c.store, tenant.ID, func(v ports.Reader) (bool, error) {
		_, ok, err := admit(v)
		return ok, err
	})
	if err != nil || !found {
		return peopled, err
	}
	return ports.Update(ctx, s.c.store, tenant.ID, func(tx ports.Tx) (bool, error) {
		if answered, err := look(tx); err != nil || answered {
			return answered, err
		}
		bot, ok, err := admit(tx)
		if err != nil || !ok {
			return peopled, err
		}
		_, err = tx.AddMember(s.room, bot.User(), domain.RoleMember, now)
		return err == nil, err
	})
}

// Drained tells that the socket's queue has emptied after it refused a frame: catching up goes on.
func (s *ChatSocket) Drained() { s.peer.Drained() }

// Close gives up the socket's place. The sink is not used afterwards, but by a push under way.
func (s *ChatSocket) Close(ctx context.Context) {
	s.peer.Close()
	s.c.leases.close(ctx, s.lease)
	now := s.c.clock.Now()
	err := s.c.store.Update(ctx, s.caller.Tenant.ID, func(tx ports.Tx) error { return tx.SawUsers([]domain.UserID{s.caller.User}, now) })
	if ignoreGone(err) != nil {
		s.c.log.Warn("last sight of a user not noted", "error", err)
	}
}
