package sqlite

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// A run is the job of a bot in a room, whose message is the newest that waits for an answer. While a claim stands a newer
// one may come: the run has been told of its own, and shows it when it ends. If the job has another one by then, it goes on.

// runJob adds a job of the bots' lane, or gives the newer trigger to the one that is there. That keeps its place, its claim
// and its attempts; its event and its age are the trigger's.
const runJob = insertJob + `UPDATE
	SET message = excluded.message, event = excluded.event, created = excluded.created WHERE lane = 'bot'`

// run is a job whose claim stands.
type run struct {
	room domain.RoomID
	bot  domain.BotID
}

// held finds the run of a hold; domain.ErrLeaseLost when somebody else has it, or nobody.
func (t *tx) held(hold domain.Hold) (found run, err error) {
	stands, err := t.conn.first("SELECT room, bot FROM outbox WHERE tenant = ? AND id = ? AND fence = ? AND lane = 'bot'",
		args(t.tenant, hold.Job[:], hold.Fence), func(r row) {
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
	n, err = t.remove("DELETE FROM outbox WHERE tenant = ? AND id = ? AND fence = ? AND message IS ?",
		t.tenant, job[:], fence, sqlrows.IDOrNull(trigger))
	if err != nil || n > 0 {
		return n, err
	}
	return t.goOn(job, fence)
}

// goOn ends a claim of a run that begins anew at once.
func (t *tx) goOn(job domain.JobID, fence int64) (n int64, err error) {
	t.w.clockwork.used = true
	return t.remove(`UPDATE outbox SET step = 0, after = '', through = '', attempts = 0, last_attempt = NULL, last_error = '',
		due = ?1, ready = ?1, fence = NULL WHERE tenant = ?2 AND id = ?3 AND fence = ?4`,
		t.w.store.steady.now(), t.tenant, job[:], fence)
}

// answered ends an answer and its run, whose claim has been found to stand. While the run has another answer on its way,
// which one that is no more has begun, it goes on: somebody must end that.
func (t *tx) answered(hold domain.Hold, message domain.MessageID) error {
	err := t.put("DELETE FROM streams WHERE message = ? AND tenant = ? AND job = ?", message[:], t.tenant, hold.Job[:])
	if err != nil {
		return err
	}
	open, err := t.conn.first("SELECT 1 FROM streams WHERE tenant = ? AND job = ? LIMIT 1", args(t.tenant, hold.Job[:]), func(row) {})
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

// checkHold proves the hold of an intent, if it has one: of the sender's run in this room, which was not handed off since.
func (t *tx) checkHold(in domain.Intent) error {
	if in.Hold == nil {
		return nil
	}
	found, err := t.held(*in.Hold)
	if err == nil && (found.room != in.Room || found.bot.User() != in.Sender) {
		err = domain.ErrLeaseLost
	}
	if err != nil {
		return err
	}
	r, err := t.room(in.Room)
	if err != nil {
		return err
	}
	return t.checkHandoff(r, *in.Hold)
}

// enqueueRuns stores the runs that a message has asked for.
func (t *tx) enqueueRuns(runs []domain.Job) error {
	for _, job := range runs {
		if err := t.Enqueue(job); err != nil {
			return err
		}
	}
	return nil
}

// Renew implements ports.Outbox.
func (s *Store) Renew(ctx context.Context, claims []ports.Claim, lease time.Duration) (lost []domain.JobID, err error) {
	return s.eachClaim(ctx, len(claims), func(i int) ports.Claim { return claims[i] },
		func(t *tx, i int) (stands bool, err error) { return t.renew(claims[i], lease) })
}

func (t *tx) renew(c ports.Claim, lease time.Duration) (stands bool, err error) {
	t.w.clockwork.used = true
	until := t.w.store.steady.now() + lease.Milliseconds()
	n, err := t.remove("UPDATE outbox SET ready = ? WHERE tenant = ? AND id = ? AND fence = ?", until, t.tenant, c.ID[:], c.Fence)
	return n > 0, err
}
