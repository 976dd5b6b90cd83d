package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// fillUp has all nodes add what there may be just once more, again and again: one can, the others are refused. add returns
// how to take it back.
func (n *nodes) fillUp(want error, add func(node int, tx ports.Tx) (undo func(ports.Tx) error, err error)) {
	n.Helper()
	for range 8 {
		undo := make([]func(ports.Tx) error, len(n.stores))
		errs := n.atOnce(func(node int, tx ports.Tx) (err error) {
			undo[node], err = add(node, tx)
			for range 30 { // who does not wait for this unit of work comes as far while it is not committed
				if err == nil {
					_, err = tx.LastNotice()
				}
			}
			return err
		})
		added := 0
		for node, err := range errs {
			switch {
			case err == nil:
				added++
				n.update(node, undo[node])
			case !errors.Is(err, want):
				n.Error(err)
			}
		}
		if added != 1 {
			n.Errorf("%d nodes could add the last there may be, want one; others get %v", added, want)
		}
	}
}

func TestNodesTogetherMakeNoMoreBotsThanThereMayBe(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	add := func(tx ports.Tx, count int) (ids []domain.BotID, err error) {
		for range count {
			bot := domain.Bot{ID: domain.BotID(fresh()), Name: "b", Provider: domain.ProviderOpenAI, Model: "m", CreatedAt: n.clock.Now()}
			if err := tx.AddBot(bot); err != nil {
				return nil, err
			}
			ids = append(ids, bot.ID)
		}
		return ids, nil
	}
	n.update(0, func(tx ports.Tx) error {
		_, err := add(tx, domain.MaxBots-2)
		return err
	})
	n.fillUp(domain.ErrTooManyBots, func(_ int, tx ports.Tx) (func(ports.Tx) error, error) {
		ids, err := add(tx, 2)
		return func(tx ports.Tx) (err error) {
			for _, id := range ids {
				err = errors.Join(err, tx.RemoveBot(id))
			}
			return err
		}, err
	})
}

func TestNodesTogetherAddNoMoreSubscriptionsThanThereMayBe(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	add := func(tx ports.Tx, count int, of domain.Subscription) (ids []domain.SubscriptionID, err error) {
		for range count {
			one := of
			one.ID, one.CreatedAt = domain.SubscriptionID(fresh()), n.clock.Now()
			one.Topic += one.ID.String()
			if _, _, err := tx.AddSubscription(one); err != nil {
				return nil, err
			}
			ids = append(ids, one.ID)
		}
		return ids, nil
	}
	const endpoint = "https://a.example/"
	for _, of := range []struct {
		before domain.Subscription
		want   error
		more   func(node int) domain.Subscription
	}{
		{domain.Subscription{User: "ann"}, domain.ErrTooManyTopics, func(int) domain.Subscription { return domain.Subscription{User: "ann"} }},
		{domain.Subscription{Endpoint: endpoint}, domain.ErrTooManyTopics, func(int) domain.Subscription { return domain.Subscription{} }},
		{domain.Subscription{}, domain.ErrTooManyEndpoints, func(node int) domain.Subscription {
			return domain.Subscription{User: domain.UserID(fmt.Sprint("user", node)), Endpoint: endpoint}
		}},
	} {
		n.update(0, func(tx ports.Tx) error {
			most := domain.MaxSubscriptions - 2
			if of.want == domain.ErrTooManyEndpoints {
				most = 0 // they are the backend's, from before
			}
			_, err := add(tx, most, of.before)
			return err
		})
		n.fillUp(of.want, func(node int, tx ports.Tx) (func(ports.Tx) error, error) {
			ids, err := add(tx, 2, of.more(node))
			return func(tx ports.Tx) (err error) {
				for _, id := range ids {
					err = errors.Join(err, tx.RemoveSubscription(id))
				}
				return err
			}, err
		})
	}
}

func TestASubscriptionThatNodesMakeTogetherIsOne(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	for _, user := range []domain.UserID{"new", ""} {
		var made atomic.Int64
		ids := make([]domain.SubscriptionID, len(n.stores))
		errs := n.atOnce(func(node int, tx ports.Tx) error {
			s := domain.Subscription{ID: domain.SubscriptionID(fresh()), User: user, Topic: "t", Endpoint: "https://a.example", CreatedAt: n.clock.Now()}
			stored, existed, err := tx.AddSubscription(s)
			if ids[node] = stored.ID; !existed {
				made.Add(1)
			}
			return err
		})
		if err := errors.Join(errs...); err != nil || made.Load() != 1 || len(slices.Compact(ids)) != 1 {
			t.Errorf("subscriptions made of %q: %d, as %v; %v", user, made.Load(), ids, err)
		}
	}
}
