package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
)

// Sender sends messages one after another, each with a client_id of its own, and tries each again until it has a
// definite answer: what a careful client does when the server dies under it.
type Sender struct {
	Rec     *Recorder
	User    *harness.User
	Rooms   []string
	Attempt Attempt
	Pause   time.Duration // between two messages, on average; 0 is none
}

// Attempt sends a message once.
type Attempt func(ctx context.Context, room, clientID string) Answer

// Answer is how one attempt came out.
type Answer struct {
	Message   harness.Message
	Duplicate bool
	Outcome   checker.Outcome
}

// AttemptTimeout bounds one attempt; a server that is up answers within milliseconds.
const AttemptTimeout = 5 * time.Second

// Run sends until ctx ends. Every message it began has a definite outcome when it returns, or an error says which has none.
func (s *Sender) Run(ctx context.Context) error {
	const bound = 1_000_000
	return s.send(ctx, bound)
}

// Send sends so many messages.
func (s *Sender) Send(n int) error { return s.send(context.Background(), n) }

func (s *Sender) send(ctx context.Context, bound int) error {
	for n := 0; n < bound && ctx.Err() == nil; n++ {
		clientID := fmt.Sprintf("%s-%d", s.User.ID, n)
		room := s.Rooms[rand.IntN(len(s.Rooms))]
		if err := s.deliver(room, clientID); err != nil {
			return err
		}
		if rand.IntN(20) == 0 { // a retry of what was acknowledged, as after a lost answer
			if err := s.deliver(room, clientID); err != nil {
				return err
			}
		}
		s.pause(ctx)
	}
	return nil
}

func (s *Sender) pause(ctx context.Context) {
	if s.Pause <= 0 {
		return
	}
	select {
	case <-time.After(rand.N(2 * s.Pause)):
	case <-ctx.Done():
	}
}

// deliver tries one message until its outcome is known.
func (s *Sender) deliver(room, clientID string) error {
	const limit = 60 * time.Second
	var got Answer
	err := harness.Until(limit, "a definite answer for "+clientID, func() bool {
		got = s.try(room, clientID)
		return got.Outcome != checker.Unknown
	})
	if err == nil && got.Outcome == checker.Refused {
		return fmt.Errorf("%s was refused although it is valid", clientID)
	}
	return err
}

func (s *Sender) try(room, clientID string) Answer {
	ctx, cancel := context.WithTimeout(context.Background(), AttemptTimeout)
	defer cancel()
	invoked := s.Rec.Now()
	a := s.Attempt(ctx, room, clientID)
	s.Rec.Sent(checker.Send{
		Room: room, Sender: s.User.ID, ClientID: clientID, Invoked: invoked, Answered: s.Rec.Now(),
		Outcome: a.Outcome, Duplicate: a.Duplicate, ID: a.Message.MessageID, Seq: a.Message.Seq,
	})
	return a
}

// OverREST posts each message.
func OverREST(u *harness.User) Attempt {
	return func(ctx context.Context, room, clientID string) Answer {
		body := map[string]any{"content": harness.Body("%s", clientID), "client_id": clientID}
		res, err := u.Do(ctx, http.MethodPost, "/rooms/"+room+"/messages", body)
		if err != nil || res.Status >= 500 {
			return Answer{}
		}
		if res.Status != http.StatusCreated {
			return Answer{Outcome: checker.Refused}
		}
		a := Answer{Outcome: checker.Acked, Duplicate: res.Header.Get("Idempotency-Replayed") == "true"}
		if err := res.Decode(&a.Message); err != nil {
			return Answer{}
		}
		return a
	}
}

// OverSocket sends each message on a socket, which it opens again when the server has died.
func OverSocket(u *harness.User) Attempt {
	var conn *harness.Conn
	return func(_ context.Context, room, clientID string) Answer {
		if conn == nil {
			var err error
			if conn, err = u.DialWith(harness.DialOptions{Keep: harness.Answers}); err != nil {
				return Answer{}
			}
		}
		m, duplicate, err := conn.Send(room, harness.Body("%s", clientID), clientID)
		var refused *harness.FrameError
		switch {
		case err == nil:
			return Answer{Message: m, Duplicate: duplicate, Outcome: checker.Acked}
		case errors.As(err, &refused) && refused.Frame.Code != "SERVICE_UNAVAILABLE" && refused.Frame.Code != "INTERNAL_ERROR":
			return Answer{Outcome: checker.Refused}
		case errors.As(err, &refused):
			return Answer{}
		}
		conn.Drop()
		conn = nil
		return Answer{}
	}
}
