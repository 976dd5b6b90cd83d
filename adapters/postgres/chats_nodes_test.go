package postgres_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// meddled is a store in whose units of work something happens elsewhere once bots were read.
type meddled struct {
	ports.Store
	listed, found func()
}

type meddledTx struct {
	ports.Tx
	of *meddled
}

func (s *meddled) Update(ctx context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	return s.Store.Update(ctx, tenant, func(tx ports.Tx) error { return fn(meddledTx{tx, s}) })
}

func (t meddledTx) Bots(offset, limit int) ([]domain.Bot, error) {
	defer t.of.listed()
	return t.Tx.Bots(offset, limit)
}

func (t meddledTx) Bot(id domain.BotID) (domain.Bot, error) {
	defer t.of.found()
	return t.Tx.Bot(id)
}

// freshIDs are of no order.
type freshIDs struct{ ports.IDs }

func (freshIDs) NewUUID() domain.UUID { return fresh() }

// TestAChatIsNotMadeWithABotThatIsRemovedMeanwhile on another node, whichever of the two comes first.
func TestAChatIsNotMadeWithABotThatIsRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	backend := application.Caller{
		Actor: domain.Actor{Tenant: n.tenant, Kind: domain.ActorBackend}, Tenant: domain.Tenant{ID: n.tenant},
	}
	for _, c := range []struct {
		name    string
		meddles func(s *meddled, remove func(), removing *sync.WaitGroup)
	}{
		{"it is gone when the chat is made", func(s *meddled, remove func(), _ *sync.WaitGroup) { s.listed = sync.OnceFunc(remove) }},
		{"it goes once the chat is made", func(s *meddled, remove func(), removing *sync.WaitGroup) {
			s.found = sync.OnceFunc(func() { removing.Go(remove) })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bot := domain.Bot{ID: domain.BotID(fresh()), Name: "Ada", Provider: domain.ProviderOpenAI, BaseURL: "https://models.example.com", Model: "small",
				CreatedAt: n.clock.Now()}
			n.update(0, func(tx ports.Tx) error { return tx.AddBot(bot) })
			bots := application.NewBots(n.stores[1], nil, nil, freshIDs{}, n.clock, &application.Runner{})
			store := &meddled{Store: n.stores[0], listed: func() {}, found: func() {}}
			var removing sync.WaitGroup
			c.meddles(store, func() {
				if err := bots.Remove(t.Context(), backend, bot.ID); err != nil {
					t.Error(err)
				}
			}, &removing)
			chats := application.NewChats(store, nil, nil, nil, nil, nil, nil, freshIDs{}, n.clock, slog.New(slog.DiscardHandler))
			made, err := chats.Create(t.Context(), backend, domain.ChatDraft{User: "ann"}, nil)
			removing.Wait()
			if err != nil {
				t.Fatal(err)
			}
			n.view(0, func(r ports.Reader) error {
				left, err := r.RoomBots(made.ID)
				if len(left) > 0 {
					t.Errorf("the chat has the bot %s, which is none", left[0])
				}
				return err
			})
		})
	}
}
