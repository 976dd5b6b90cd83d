package faults

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

// sender sends messages one after another, each with a client_id of its own, and tries each again until it has a
// definite answer: what a careful client does when the server dies under it.
type sender struct {
	rec     *recorder
	user    *harness.User
	rooms   []string
	attempt func(ctx context.Context, room, clientID string) answer
}

// answer is how one attempt came out.
type answer struct {
	message   harness.Message
	duplicate bool
	outcome   checker.Outcome
}

// attemptTimeout bounds one attempt; a server that is up answers within milliseconds.
const attemptTimeout = 5 * time.Second

// run sends until ctx ends. Every message it began has a definite outcome when it returns, or an error says which has none.
func (s *sender) run(ctx context.Context) error {
	const bound = 1_000_000
	for n := 0; n < bound && ctx.Err() == nil; n++ {
		clientID := fmt.Sprintf("%s-%d", s.user.ID, n)
		room := s.rooms[rand.IntN(len(s.rooms))]
		if err := s.deliver(room, clientID); err != nil {
			return err
		}
		if rand.IntN(20) == 0 { // a retry of what was acknowledged, as after a lost answer
			if err := s.deliver(room, clientID); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver tries one message until its outcome is known.
func (s *sender) deliver(room, clientID string) error {
	const limit = 60 * time.Second
	var got answer
	err := harness.Until(limit, "a definite answer for "+clientID, func() bool {
		got = s.try(room, clientID)
		return got.outcome != checker.Unknown
	})
	if err == nil && got.outcome == checker.Refused {
		return fmt.Errorf("%s was refused although it is valid", clientID)
	}
	return err
}

func (s *sender) try(room, clientID string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	invoked := s.rec.now()
	a := s.attempt(ctx, room, clientID)
	s.rec.sent(checker.Send{
		Room: room, Sender: s.user.ID, ClientID: clientID, Invoked: invoked, Answered: s.rec.now(),
		Outcome: a.outcome, Duplicate: a.duplicate, ID: a.message.MessageID, Seq: a.message.Seq,
	})
	return a
}

// overREST posts each message.
func overREST(u *harness.User) func(context.Context, string, string) answer {
	return func(ctx context.Context, room, clientID string) answer {
		body := map[string]any{"content": harness.Body("%s", clientID), "client_id": clientID}
		res, err := u.Do(ctx, http.MethodPost, "/rooms/"+room+"/messages", body)
		if err != nil || res.Status >= 500 {
			return answer{}
		}
		if res.Status != http.StatusCreated {
			return answer{outcome: checker.Refused}
		}
		a := answer{outcome: checker.Acked, duplicate: res.Header.Get("Idempotency-Replayed") == "true"}
		if err := res.Decode(&a.message); err != nil {
			return answer{}
		}
		return a
	}
}

// overSocket sends each message on a socket, which it opens again when the server has died.
func overSocket(u *harness.User) func(context.Context, string, string) answer {
	var conn *harness.Conn
	return func(_ context.Context, room, clientID string) answer {
		if conn == nil {
			var err error
			if conn, err = u.DialWith(harness.DialOptions{Keep: harness.Answers}); err != nil {
				return answer{}
			}
		}
		m, duplicate, err := conn.Send(room, harness.Body("%s", clientID), clientID)
		var refused *harness.FrameError
		switch {
		case err == nil:
			return answer{message: m, duplicate: duplicate, outcome: checker.Acked}
		case errors.As(err, &refused) && refused.Frame.Code != "SERVICE_UNAVAILABLE" && refused.Frame.Code != "INTERNAL_ERROR":
			return answer{outcome: checker.Refused}
		case errors.As(err, &refused):
			return answer{}
		}
		conn.Drop()
		conn = nil
		return answer{}
	}
}
