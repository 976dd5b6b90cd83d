package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// A run is the job of a bot in a room, whose message is the newest that waits for an answer. While a claim stands a newer
// one may come: the run has been told of its own, and shows it when it ends. If the job has another one by then, it goes on.

// runJob adds a job of the bots' lane, or gives the newer trigger to the one that is there. That keeps its place, its claim
// and its attempts; its event and its age are the trigger's.
const runJob = "INSERT INTO outbox (tenant, id, attempts, ready, " + sqlrows.JobColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
	ON CONFLICT (tenant, id) DO UPDATE
	SET message = excluded.message, event = excluded.event, created = excluded.created WHERE outbox.lane = 'bot'`

// run is a job whose claim stands.
type run struct {
	room domain.RoomID
	bot  domain.BotID
}

const heldRun = "SELECT room, bot FROM outbox WHERE tenant = $1 AND id = $2 AND fence = $3 AND lane = 'bot'"

// held finds the run of a hold; domain.ErrLeaseLost when somebody else has it, or nobody. The job's row is locked: until the
// commit nobody else is given it, and no newer trigger comes. Who writes into the room has locked that before.
func (t *tx) held(hold domain.Hold) (run, error) { return t.findRun(heldRun+" FOR UPDATE", hold) }

// lookHeld is held without the lock, to learn of the room that is to be locked first.
func (t *tx) lookHeld(hold domain.Hold) (run, error) { return t.findRun(heldRun, hold) }

func (t *tx) findRun(query string, hold domain.Hold) (found run, err error) {
	stands, err := t.conn.first(query, args(t.tenant, hold.Job[:], hold.Fence), func(r row) {
		copy(found.room[:], r.Blob(0))
		copy(found.bot[:], r.Blob(1))
	})
	if err == nil && !stands {
		err = domain.ErrLeaseLost
	}
	return found, err
}

// endRun ends a claim of a run that has dealt with a trigger: its job is gone, unless there is a newer one. n is 0 when the
// claim does not stand.
func (t *tx) endRun(job domain.JobID, fence int64, trigger domain.MessageID) (n int64, err error) {
	n, err = t.remove("DELETE FROM outbox WHERE tenant = $1 AND id = $2 AND fence = $3 AND message IS NOT DISTINCT FROM $4",
		t.tenant, job[:], fence, sqlrows.IDOrNull(trigger))
	if err != nil || n > 0 {
		return n, err
	}
	return t.goOn(job, fence)
}

// goOn ends a claim of a run that begins anew at once.
func (t *tx) goOn(job domain.JobID, fence int64) (n int64, err error) {
	return t.remove(`UPDATE outbox SET step = 0, after = '', through = '', attempts = 0, last_attempt = NULL, last_error = '',
		due = $1, ready = $1, fence = NULL WHERE tenant = $2 AND id = $3 AND fence = $4`,
		t.store.now(), t.tenant, job[:], fence)
}

// answered ends an answer and its run, whose claim has been found to stand. While the run has another answer on its way,
// which one that is no more has begun, it goes on: somebody must end that.
func (t *tx) answered(hold domain.Hold, message domain.MessageID) error {
	err := t.put("DELETE FROM streams WHERE message = $1 AND tenant = $2 AND job = $3", message[:], t.tenant, hold.Job[:])
	if err != nil {
		return err
	}
	open, err := t.conn.first("SELECT 1 FROM streams WHERE tenant = $1 AND job = $2 LIMIT 1", args(t.tenant, hold.Job[:]), func(row) {})
	if err != nil {
		return err
	}
	if open {
		_, err = t.goOn(hold.Job, hold.Fence)
	} else {
		_, err = t.endRun(hold.Job, hold.Fence, hold.Trigger)
	}
	return err
}

// checkHold proves the hold of an intent, if it has one: of the sender's run in this room, which was not handed off since. The
// room is locked first, as by all who write into it: one who sends there gives the run a newer trigger under that lock.
func (t *tx) checkHold(in domain.Intent) error {
	if in.Hold == nil {
		return nil
	}
	r, err := t.room(in.Room)
	if err != nil && !errors.Is(err, domain.ErrRoomNotFound) {
		return err
	}
	gone := err != nil // which is what the sender is told
	found, err := t.held(*in.Hold)
	if err == nil && (found.room != in.Room || found.bot.User() != in.Sender) {
		err = domain.ErrLeaseLost
	}
	if err != nil || gone {
		return err
	}
	return t.checkHandoff(r, *in.Hold)
}

// Renew implements ports.Outbox.
func (s *Store) Renew(ctx context.Context, claims []ports.Claim, lease time.Duration) (lost []domain.JobID, err error) {
	if len(claims) == 0 {
		return nil, nil
	}
	err = s.operate(ctx, func(t *tx) error {
		lost = nil
		until := s.now() + lease.Milliseconds()
		for _, c := range claims {
			stands, err := t.renew(c, until)
			if err != nil {
				return err
			}
			if !stands {
				lost = append(lost, c.ID)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

func (t *tx) renew(c ports.Claim, until int64) (stands bool, err error) {
	live, err := t.bindLive(c.Tenant)
	if err != nil || !live {
		return false, err
	}
	n, err := t.remove("UPDATE outbox SET ready = $1 WHERE tenant = $2 AND id = $3 AND fence = $4", until, t.tenant, c.ID[:], c.Fence)
	return n > 0, err
}
