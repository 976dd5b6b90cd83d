package postgres_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// changeTogether has two nodes change different things of the same at once: each reads what is there, and writes all of it.
func changeTogether(of *nodes, change func(node int, tx ports.Tx) error) {
	of.Helper()
	for _, err := range of.atOnce(change) {
		if err != nil {
			of.Fatal(err)
		}
	}
}

func TestChangesOfAProfileOnTwoNodesBothStay(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 2)
	name, picture := "Ann", "https://example.com/ann.png"
	for i := range 20 {
		id := domain.UserID(fmt.Sprint("user ", i))
		if i%2 == 0 { // the others are first seen by the change itself
			of.update(0, func(tx ports.Tx) error { return tx.PutUser(domain.User{ID: id}) })
		}
		changeTogether(of, func(node int, tx ports.Tx) error {
			user, err := tx.User(id)
			if errors.Is(err, domain.ErrUserNotFound) {
				user, err = domain.User{ID: id}, nil
			}
			if err != nil {
				return err
			}
			if node == 0 {
				user.Name = &name
			} else {
				user.AvatarURL = &picture
			}
			return tx.PutUser(user)
		})
		of.view(0, func(r ports.Reader) error {
			user, err := r.User(id)
			if err == nil && (user.Name == nil || user.AvatarURL == nil) {
				t.Errorf("of two changes of %s one is lost: %+v", id, user)
			}
			return err
		})
	}
}

// addBot stores a bot.
func (n *nodes) addBot() domain.Bot {
	n.Helper()
	bot := domain.Bot{ID: domain.BotID(fresh()), Name: "b", Provider: domain.ProviderOpenAI, Model: "m", CreatedAt: n.clock.Now()}
	n.update(0, func(tx ports.Tx) error { return tx.AddBot(bot) })
	return bot
}

func TestChangesOfABotOnTwoNodesBothStay(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 2)
	for range 20 {
		id := of.addBot().ID
		changeTogether(of, func(node int, tx ports.Tx) error {
			bot, err := tx.Bot(id)
			if err != nil {
				return err
			}
			if node == 0 {
				bot.Name = "changed"
			} else {
				bot.Model = "changed"
			}
			return tx.UpdateBot(bot)
		})
		of.view(0, func(r ports.Reader) error {
			bot, err := r.Bot(id)
			if err == nil && (bot.Name != "changed" || bot.Model != "changed") {
				t.Errorf("of two changes one is lost: %q and %q", bot.Name, bot.Model)
			}
			return err
		})
	}
}

// TestABotIsNoMemberOnceItIsRemoved: one node adds it to a room while another takes it out of all it is in.
func TestABotIsNoMemberOnceItIsRemoved(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 2)
	for range 20 {
		bot, room := of.addBot(), of.room("ann")
		errs := of.atOnce(func(node int, tx ports.Tx) error {
			if _, err := tx.Bot(bot.ID); err != nil {
				return err
			}
			if node == 0 {
				_, err := tx.AddMember(room.ID, bot.ID.User(), domain.RoleMember, of.clock.Now())
				return err
			}
			rooms, err := tx.Rooms(domain.RoomQuery{User: bot.ID.User(), Limit: 10})
			if err != nil {
				return err
			}
			for _, in := range rooms {
				if _, err := tx.RemoveMember(in.ID, bot.ID.User(), of.clock.Now()); err != nil {
					return err
				}
			}
			return tx.RemoveBot(bot.ID)
		})
		if errs[1] != nil || errs[0] != nil && !errors.Is(errs[0], domain.ErrBotNotFound) {
			t.Fatal(errs)
		}
		of.view(0, func(r ports.Reader) error {
			there, err := r.RoomBots(room.ID)
			if len(there) > 0 {
				t.Errorf("a bot that is no more is a member")
			}
			return err
		})
	}
}

// TestMarksOfNewDevicesDoNotWaitInACircle: each keeps new devices from being noted, but for its own.
func TestMarksOfNewDevicesDoNotWaitInACircle(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 4)
	for i := range 10 {
		room := of.room("ann", "bob")
		of.sendTo(0, room.ID, "ann", 9)
		of.each(func(node int, s *postgres.Store) error {
			return s.Update(t.Context(), of.tenant, func(tx ports.Tx) error {
				_, err := tx.RaiseMark(room.ID, "bob", domain.DeviceID(fmt.Sprint(i, " ", node)), domain.Mark{DeliveredSeq: 9})
				return err
			})
		})
	}
	for _, s := range of.stores {
		if lost := s.Stats().Retries; lost > 0 {
			t.Errorf("%d units of work had to be run again", lost)
		}
	}
}
