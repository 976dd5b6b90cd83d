package postgres

import (
	"context"
	"strconv"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
)

// purgeLock is the number of the lock that one node purges under.
const purgeLock int64 = 0x6368_6174_7075_7267

// Purge implements ports.Purger. Of several nodes one purges at a time; to the others there is nothing to do meanwhile.
func (s *Store) Purge(ctx context.Context) (more bool, err error) {
	err = s.operate(ctx, func(t *tx) error {
		more = false
		mine, err := t.lockPurge()
		if err != nil || !mine {
			return err
		}
		more, err = t.purge(s.cfg.Clock.Now())
		return err
	})
	return more && err == nil, err
}

func (t *tx) lockPurge() (mine bool, err error) {
	_, err = t.conn.first("SELECT pg_try_advisory_xact_lock($1)", args(purgeLock), func(r row) { mine = r.Int(0) != 0 })
	return mine, err
}

// purge takes a step of removing what is not there any more to its tenant and reports whether there may be more.
func (t *tx) purge(now time.Time) (more bool, err error) {
	p := purge{t: t, left: sqlrows.MaxSweep, now: now}
	for p.left > 0 {
		found, err := p.next()
		if err != nil || !found {
			return p.waits, err
		}
	}
	return true, nil
}

// purge removes rows until its allowance is spent: a row each, of messages those their texts take too.
type purge struct {
	t     *tx
	left  int64
	now   time.Time
	waits bool // something is to be done once others have ended
}

// next deals with what is first to go, as far as the allowance goes, and reports whether there was anything.
func (p *purge) next() (bool, error) {
	tenant, found, err := p.departed()
	if err == nil && found {
		return true, p.tenant(tenant)
	}
	if err != nil {
		return false, err
	}
	room, found, err := p.removed()
	if err == nil && found {
		return true, p.contents(room)
	}
	if err != nil {
		return false, err
	}
	tombstone, found, err := p.one("SELECT number FROM rooms WHERE purged <= $1 ORDER BY purged LIMIT 1", sqlrows.UnseenSince(p.now))
	if err == nil && found {
		return true, p.tombstone(tombstone)
	}
	if err != nil {
		return false, err
	}
	if found, err := p.oldLetter(); err != nil || found {
		return found, err
	}
	return p.oldNotification()
}

func (p *purge) one(query string, values ...any) (number int64, found bool, err error) {
	found, err = p.t.conn.first(query, values, func(r row) { number = r.Int(0) })
	return number, found, err
}

// rows deletes up to the allowance of a table's rows; where selects them by the values.
func (p *purge) rows(table, where string, values ...any) error {
	if p.left <= 0 {
		return nil
	}
	return p.spend("DELETE FROM "+table+" WHERE ctid = ANY(ARRAY(SELECT ctid FROM "+table+" WHERE "+where+
		" LIMIT $"+strconv.Itoa(len(values)+1)+"))", append(values, p.left)...)
}

// spend runs a statement and takes the rows it changed from the allowance.
func (p *purge) spend(query string, values ...any) error {
	n, err := p.t.remove(query, values...)
	p.left -= n
	return err
}

func (p *purge) room(tenant, room int64) error {
	if err := p.log(room); err != nil {
		return err
	}
	if err := p.rows("members", "room = $1", room); err != nil {
		return err
	}
	return p.rows("rooms", "number = $1 AND tenant = $2", room, tenant)
}

// log removes a room's messages, also those on their way, and changes.
func (p *purge) log(room int64) error {
	if err := p.rows("streams", "room = $1", room); err != nil {
		return err
	}
	if err := p.messages(room); err != nil {
		return err
	}
	return p.rows("room_changes", "room = $1", room)
}

// outOfLine is how much of a long text one of the rows holds that Postgres keeps it in, beside the message's own.
const outOfLine = 2000

// messages removes a room's first messages. Each costs as much of the allowance as rows are removed with it: else a step
// would take many times as long where texts are long.
func (p *purge) messages(room int64) error {
	var rows, cost int64
	err := p.t.conn.query("SELECT octet_length(body) FROM messages WHERE room = $1 ORDER BY seq LIMIT $2",
		args(room, max(p.left, 0)), func(r row) error {
			if cost < p.left {
				rows, cost = rows+1, cost+1+r.Int(0)/outOfLine
			}
			return nil
		})
	if err != nil || rows == 0 {
		return err
	}
	p.left -= cost - rows
	return p.spend("DELETE FROM messages WHERE ctid = ANY(ARRAY(SELECT ctid FROM messages WHERE room = $1 ORDER BY seq LIMIT $2))",
		room, rows)
}

// device removes a device that was not seen since, with its marks, the device last.
func (p *purge) device(user int64, device string, since int64) error {
	if err := p.rows("marks", "user_no = $1 AND device = $2", user, device); err != nil {
		return err
	}
	return p.rows("devices", "user_no = $1 AND device = $2 AND seen <= $3", user, device, since)
}

func (p *purge) user(tenant, user int64) error {
	if err := p.rows("marks", "user_no = $1", user); err != nil {
		return err
	}
	if err := p.rows("devices", "user_no = $1", user); err != nil {
		return err
	}
	return p.rows("users", "number = $1 AND tenant = $2", user, tenant)
}
