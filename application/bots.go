package application

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Bots makes and changes bots, stops their answers, and hands rooms to people and back.
type Bots struct {
	store  ports.Store
	places ports.Endpoints
	sealer ports.Sealer
	ids    ports.IDs
	clock  ports.Clock
	runner *Runner
	keys   domain.OriginKeys
	busy   *inFlight
}

// NewBots wires the use cases.
func NewBots(store ports.Store, places ports.Endpoints, sealer ports.Sealer, ids ports.IDs, clock ports.Clock, runner *Runner) *Bots {
	keys := make(domain.OriginKeys, len(runner.Config.Keys))
	for name, key := range runner.Config.Keys {
		keys[name] = key.Origin
	}
	return &Bots{store: store, places: places, sealer: sealer, ids: ids, clock: clock, runner: runner, keys: keys, busy: newInFlight()}
}

// Add makes a bot. The backend's alone. Errors: validation, of its URLs too, domain.ErrBackendOnly, domain.ErrTooManyBots,
// domain.ErrIdempotency, domain.ErrIdempotencyBusy, and those of ports.Store.
func (b *Bots) Add(ctx context.Context, c Caller, patch domain.BotPatch, key *domain.Idempotency) (bot domain.Bot, repeated bool, err error) {
	if c.Kind != domain.ActorBackend {
		return bot, false, domain.ErrBackendOnly
	}
	now := b.clock.Now()
	blank := domain.Bot{
		ID: domain.BotID(b.ids.NewUUID()), Provider: domain.ProviderOpenAI, ContextMessages: domain.DefaultContext, CreatedAt: now,
	}
	wanted, err := b.change(c.Tenant.ID, blank, patch)
	if err != nil {
		return bot, false, err
	}
	done, err := b.busy.enter(c.Tenant.ID, key)
	if err != nil {
		return bot, false, err
	}
	defer done()
	err = b.store.Update(ctx, c.Tenant.ID, func(tx ports.Tx) error {
		before, err := replayed(tx, key, now)
		if err != nil {
			return err
		}
		if before != nil {
			id, _ := domain.ParseBotID(before.Resource)
			repeated = true
			bot, err = tx.Bot(id)
			return err
		}
		if bot, repeated = wanted, false; err == nil {
			err = tx.AddBot(wanted)
		}
		if err != nil {
			return err
		}
		return keep(tx, key, statusCreated, wanted.ID.String(), now)
	})
	return bot, repeated, err
}

// change applies a patch and judges what it asks for: where the bot calls, and with which key.
func (b *Bots) change(tenant domain.TenantID, bot domain.Bot, patch domain.BotPatch) (domain.Bot, error) {
	before := bot
	bot, newKey, err := patch.Apply(bot)
	if err != nil {
		return bot, err
	}
	if bot.BaseURL != before.BaseURL {
		if err := b.places.CheckURL(ports.OutboundLLM, "llm_base_url", bot.BaseURL); err != nil {
			return bot, err
		}
	}
	if bot.WebhookURL != "" && bot.WebhookURL != before.WebhookURL {
		if err := b.places.CheckURL(ports.OutboundWebhook, "webhook_url", bot.WebhookURL); err != nil {
			return bot, err
		}
	}
	if err := b.keys.Check(bot); err != nil {
		return bot, err
	}
	if newKey {
		bot.Key, err = b.sealer.Seal([]byte(*patch.Key.To), BotKeyContext(tenant, bot))
	}
	return bot, err
}

// Get returns a bot. The backend's alone, like the next ones.
func (b *Bots) Get(ctx context.Context, c Caller, id domain.BotID) (domain.Bot, error) {
	if c.Kind != domain.ActorBackend {
		return domain.Bot{}, domain.ErrBackendOnly
	}
	return ports.View(ctx, b.store, c.Tenant.ID, func(r ports.Reader) (domain.Bot, error) { return r.Bot(id) })
}

// List returns bots, oldest first, and whether there are more.
func (b *Bots) List(ctx context.Context, c Caller, offset, limit int) ([]domain.Bot, bool, error) {
	if c.Kind != domain.ActorBackend {
		return nil, false, domain.ErrBackendOnly
	}
	found, err := ports.View(ctx, b.store, c.Tenant.ID, func(r ports.Reader) ([]domain.Bot, error) { return r.Bots(offset, limit+1) })
	if len(found) > limit {
		return found[:limit], true, err
	}
	return found, false, err
}

// Update changes a bot: what is not set stays.
func (b *Bots) Update(ctx context.Context, c Caller, id domain.BotID, patch domain.BotPatch) (domain.Bot, error) {
	if c.Kind != domain.ActorBackend {
		return domain.Bot{}, domain.ErrBackendOnly
	}
	bot, err := ports.Update(ctx, b.store, c.Tenant.ID, func(tx ports.Tx) (domain.Bot, error) {
		stored, err := tx.Bot(id)
		if err != nil {
			return stored, err
		}
		changed, err := b.change(c.Tenant.ID, stored, patch)
		if err != nil {
			return changed, err
		}
		return changed, tx.UpdateBot(changed)
	})
	if err == nil {
		b.places.Forget(ports.OutboundLLM, botEndpoint(c.Tenant.ID, id))
		b.places.Forget(ports.OutboundWebhook, botContextEndpoint(c.Tenant.ID, id))
	}
	return bot, err
}

// botEndpoint names a bot's model to the guard.
func botEndpoint(tenant domain.TenantID, id domain.BotID) string {
	return string(tenant) + "/" + id.String()
}

// botContextEndpoint names a bot's own webhook, which is asked for contexts alone, to the guard.
func botContextEndpoint(tenant domain.TenantID, id domain.BotID) string {
	return botEndpoint(tenant, id) + contextSuffix
}

// leaveStep is how many rooms a removed bot leaves in one write.
const leaveStep = 100

// Remove takes a bot out of all its rooms and ends it. What it has said stays.
func (b *Bots) Remove(ctx context.Context, c Caller, id domain.BotID) error {
	if c.Kind != domain.ActorBackend {
		return domain.ErrBackendOnly
	}
	now := b.clock.Now()
	for {
		left, err := ports.Update(ctx, b.store, c.Tenant.ID, func(tx ports.Tx) (int, error) {
			if _, err := tx.Bot(id); err != nil {
				return 0, err
			}
			rooms, err := tx.Rooms(domain.RoomQuery{User: id.User(), Chats: true, Limit: leaveStep})
			if err != nil {
				return 0, err
			}
			slices.SortFunc(rooms, func(a, b domain.RoomSummary) int { return bytes.Compare(a.ID[:], b.ID[:]) }) // as sends lock them
			for _, room := range rooms {
				if _, err := tx.RemoveMember(room.ID, id.User(), now); ignoreGone(err) != nil {
					return 0, err
				}
			}
			if len(rooms) < leaveStep {
				return 0, tx.RemoveBot(id)
			}
			return len(rooms), nil
		})
		if err != nil || left == 0 {
			return err
		}
	}
}

// HandOff says who answers in a room: its admins and the backend may. With people the answers under way end, and the
// assignee becomes a member. What says nothing new takes no rev.
func (b *Bots) HandOff(ctx context.Context, c Caller, room domain.RoomID, mode, assignee string) (domain.Room, error) {
	wanted, err := domain.CheckHandoff(mode, assignee)
	if err != nil {
		return domain.Room{}, err
	}
	now := b.clock.Now()
	found, err := ports.Update(ctx, b.store, c.Tenant.ID, func(tx ports.Tx) (domain.Room, error) {
		found, err := access(tx, c, room, domain.ActHandOff)
		if err != nil {
			return found, err
		}
		if wanted.Assignee != "" {
			if err := admitAssignee(tx, found, wanted.Assignee, now); err != nil {
				return found, err
			}
		}
		if found.Handoff == wanted {
			return found, nil
		}
		return tx.SetHandoff(room, wanted, now)
	})
	if err == nil && wanted.IsHuman() {
		hush := newOrder(orderHush, c.Tenant.ID, room, domain.MessageID{})
		hush.Rev = found.LastRev // an order that is late ends nothing that began after the room was handed back
		b.runner.order(ctx, hush)
	}
	return found, err
}

// Stop ends an answer under way: what was said until then is the message. Members may, and the backend. One that has
// ended already is no error.
func (b *Bots) Stop(ctx context.Context, c Caller, room domain.RoomID, message domain.MessageID) error {
	err := b.store.Update(ctx, c.Tenant.ID, func(tx ports.Tx) error {
		if _, err := access(tx, c, room, domain.ActStop); err != nil {
			return err
		}
		err := tx.StopStream(room, message)
		if errors.Is(err, domain.ErrMessageNotFound) {
			_, err = tx.Message(room, message)
		}
		return err
	})
	if err == nil {
		b.runner.order(ctx, newOrder(orderStop, c.Tenant.ID, room, message))
	}
	return err
}

// admitAssignee makes the one who is to answer a member, where members can be made.
func admitAssignee(tx ports.Tx, room domain.Room, assignee domain.UserID, now time.Time) error {
	_, member, err := tx.Access(room.ID, assignee)
	if err != nil || member.IsActive() {
		return err
	}
	if room.Type == domain.RoomDM {
		return domain.ErrDMFixed
	}
	_, err = tx.AddMember(room.ID, assignee, domain.RoleMember, now)
	return err
}
