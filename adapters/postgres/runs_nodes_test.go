package postgres_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// withRun makes a room of ann and a bot, which ann has asked something.
func (n *nodes) withRun() (domain.Room, domain.BotID, domain.Message) {
	n.Helper()
	bot := domain.BotID(fresh())
	room := n.room("ann", bot.User())
	return room, bot, n.sendTo(0, room.ID, "ann", 1)[0]
}

func runsOf(limit int) ports.ClaimQuery {
	return ports.ClaimQuery{Lane: domain.LaneBot, Limit: limit, PerTenant: 8, Lease: time.Minute}
}

func held(c ports.Claim) domain.Hold {
	return domain.Hold{Job: c.ID, Fence: c.Fence, Trigger: c.Message}
}

func (n *nodes) stream(c ports.Claim) domain.Stream {
	return domain.Stream{
		Message: domain.MessageID(fresh()), Room: c.Room, Bot: c.Bot, ReplyTo: c.Message, Attempt: 1, StartedAt: n.clock.Now(),
	}
}

// tryUpdate is update for its error.
func (n *nodes) tryUpdate(s *postgres.Store, fn func(ports.Tx) error) error {
	return s.Update(n.Context(), n.tenant, fn)
}

func (n *nodes) answer(s *postgres.Store, c ports.Claim, id domain.MessageID) error {
	hold := held(c)
	a := domain.Answer{ID: id, Bot: c.Bot, ReplyTo: c.Message, Content: "the answer", Now: n.clock.Now()}
	_, err := s.Append(n.Context(), n.tenant,
		domain.Intent{Room: c.Room, Sender: c.Bot.User(), ReplyTo: c.Message, Hold: &hold}, a.Decide)
	return err
}

func TestARunIsOneNodesHoweverManyClaimAndOpenItAtOnce(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 4)
	for range 10 {
		n.withRun()
		var opened atomic.Int64
		n.each(func(_ int, s *postgres.Store) error {
			claims, _, err := s.Claim(t.Context(), runsOf(1))
			if err != nil || len(claims) == 0 {
				return err
			}
			opened.Add(1)
			begun := n.stream(claims[0])
			err = n.tryUpdate(s, func(tx ports.Tx) error {
				_, err := tx.OpenStream(held(claims[0]), begun)
				return err
			})
			return errors.Join(err, n.answer(s, claims[0], begun.Message))
		})
		if opened.Load() != 1 {
			t.Fatalf("%d nodes have opened one run", opened.Load())
		}
	}
}

// TestWhatAHoldThatIsLostShowsWritesNothing has the node that lost a run and the one that was given it act at the same time.
func TestWhatAHoldThatIsLostShowsWritesNothing(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	for range 10 {
		room, bot, _ := n.withRun()
		stale := n.claimOne(n.stores[0], runsOf(1))
		n.clock.pass(time.Minute)
		claims := []ports.Claim{stale, n.claimOne(n.stores[1], runsOf(1))}
		streams := []domain.Stream{n.stream(stale), n.stream(stale)}
		n.each(func(node int, s *postgres.Store) error {
			c, begun := claims[node], streams[node]
			steps := []func() error{
				func() error {
					return n.tryUpdate(s, func(tx ports.Tx) error {
						_, err := tx.OpenStream(held(c), begun)
						return err
					})
				},
				func() error {
					return n.tryUpdate(s, func(tx ports.Tx) error {
						_, err := tx.KeepStream(held(c), begun.Message, "so far")
						return err
					})
				},
				func() error { return n.answer(s, c, begun.Message) },
				func() error {
					return n.tryUpdate(s, func(tx ports.Tx) error { return tx.EndStream(held(c), begun.Message) })
				},
			}
			for i, step := range steps {
				err := step()
				switch lost := errors.Is(err, domain.ErrLeaseLost); {
				case node == 0 && !lost:
					return fmt.Errorf("step %d of the node that lost the run: %w", i, err)
				case node == 1 && i < 3 && err != nil:
					return fmt.Errorf("step %d of the node that holds it: %w", i, err)
				case node == 1 && i == 3 && !lost:
					return fmt.Errorf("a run that has ended was ended again: %w", err)
				}
			}
			return nil
		})
		n.view(0, func(r ports.Reader) error {
			said, err := r.MessagesAfter(room.ID, 0, 10)
			if len(said) != 2 || said[1].ID != streams[1].Message || said[1].Sender != bot.User() {
				t.Errorf("the room has %+v, want the question and the answer of the node that holds the run", said)
			}
			return err
		})
	}
}

// TestNoTriggerIsLostBetweenASendAndTheEndOfARun has one node end a run while another sends: whichever is first, the message
// is answered by one further run.
func TestNoTriggerIsLostBetweenASendAndTheEndOfARun(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	for range 20 {
		room, _, _ := n.withRun()
		claim := n.claimOne(n.stores[0], runsOf(1))
		var newest domain.Message
		n.each(func(node int, s *postgres.Store) error {
			if node == 0 {
				return n.answer(s, claim, domain.MessageID(fresh()))
			}
			newest = n.sendTo(1, room.ID, "ann", 1)[0]
			return nil
		})
		further := n.claimOne(n.stores[1], runsOf(8))
		if further.Message != newest.ID {
			t.Errorf("the further run is about %s, want the newest message, %s", further.Message, newest.ID)
		}
		if err := n.answer(n.stores[1], further, domain.MessageID(fresh())); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAClaimDoesNotWaitForARunThatIsGivenANewerTrigger claims on one node while another holds a run's row.
func TestAClaimDoesNotWaitForARunThatIsGivenANewerTrigger(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	_, bot, first := n.withRun()
	_, other, _ := n.withRun()
	n.update(0, func(tx ports.Tx) error {
		if err := tx.Enqueue(domain.RunJob(bot, first)); err != nil {
			return err
		}
		claim := n.claimOne(n.stores[1], runsOf(8))
		if claim.Bot != other {
			t.Errorf("a run of %s was claimed, want the one of %s that nobody is at", claim.Bot, other)
		}
		claims, next, err := n.stores[1].Claim(t.Context(), runsOf(8))
		if len(claims) > 0 || next <= 0 || next > time.Second {
			t.Errorf("%d runs were claimed, and the next is in %v; want none, and a look in a moment", len(claims), next)
		}
		return err
	})
	if claim := n.claimOne(n.stores[1], runsOf(8)); claim.Bot != bot {
		t.Errorf("a run of %s was claimed, want the one of %s", claim.Bot, bot)
	}
}

// TestAnAnswerAndAHandoffOnTwoNodesHaveOneOrder has a handoff on one node beside an answer on another: no answer is above it.
func TestAnAnswerAndAHandoffOnTwoNodesHaveOneOrder(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	for range 20 {
		room, _, _ := n.withRun()
		claim := n.claimOne(n.stores[0], runsOf(1))
		var handed domain.Room
		n.each(func(node int, s *postgres.Store) error {
			if node == 0 {
				if err := n.answer(s, claim, domain.MessageID(fresh())); err != nil && !errors.Is(err, domain.ErrHandedOff) {
					return err
				}
				return nil
			}
			return n.tryUpdate(s, func(tx ports.Tx) (err error) {
				handed, err = tx.SetHandoff(room.ID, domain.Handoff{Mode: domain.HandoffHuman, Assignee: "ann"}, n.clock.Now())
				return err
			})
		})
		n.view(0, func(r ports.Reader) error {
			said, err := r.MessagesAfter(room.ID, 0, 10)
			for _, m := range said {
				if m.SenderType == domain.SenderBot && m.FirstRev > handed.LastRev {
					t.Errorf("an answer has the position %d, and the handoff %d", m.FirstRev, handed.LastRev)
				}
			}
			return err
		})
		n.update(0, func(tx ports.Tx) error { return tx.RemoveRoom(room.ID, n.clock.Now()) })
		if _, err := n.stores[0].Settle(t.Context(), []ports.Settlement{{Claim: claim}}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestARunIsNotGivenOnWhileItsHoldIsBeingShown has the lease of a run pass while its node is in the middle of a unit of work.
func TestARunIsNotGivenOnWhileItsHoldIsBeingShown(t *testing.T) {
	t.Parallel()
	n := openNodes(t, 2)
	n.withRun()
	claim := n.claimOne(n.stores[0], runsOf(1))
	begun := n.stream(claim)
	n.update(0, func(tx ports.Tx) error {
		if _, err := tx.OpenStream(held(claim), begun); err != nil {
			return err
		}
		n.clock.pass(time.Minute)
		claims, _, err := n.stores[1].Claim(t.Context(), runsOf(1))
		if len(claims) > 0 {
			t.Error("a run was given to another node in the middle of what its holder stores")
		}
		return err
	})
	given := n.claimOne(n.stores[1], runsOf(1))
	err := n.tryUpdate(n.stores[0], func(tx ports.Tx) error {
		_, err := tx.KeepStream(held(claim), begun.Message, "more")
		return err
	})
	if !errors.Is(err, domain.ErrLeaseLost) {
		t.Errorf("the node that has lost the run: %v, want %v", err, domain.ErrLeaseLost)
	}
	if err := n.answer(n.stores[1], given, begun.Message); err != nil {
		t.Error(err)
	}
}
