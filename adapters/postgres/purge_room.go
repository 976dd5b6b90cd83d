package postgres

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// removedRoom is a room that was removed and still holds what is to be purged.
type removedRoom struct {
	number           int64
	tenant           int64
	id               domain.RoomID
	lastSeq, lastRev int64
	user             int64 // memberships up to this user's have been dealt with
}

func (p *purge) removed() (r removedRoom, found bool, err error) {
	found, err = p.t.conn.first(`SELECT number, last_seq, last_rev, purge_user, tenant, id FROM rooms
		WHERE deleted IS NOT NULL AND purged IS NULL ORDER BY deleted LIMIT 1`, nil, func(row row) {
		r = removedRoom{number: row.Int(0), lastSeq: row.Int(1), lastRev: row.Int(2), user: row.Int(3), tenant: row.Int(4)}
		copy(r.id[:], row.Blob(5))
	})
	return r, found, err
}

// contents ends the memberships of a removed room, then removes its calls and its log. Its row and the memberships stay: a tombstone.
func (p *purge) contents(r removedRoom) error {
	for p.left > 0 {
		last, found, err := p.lastOfNext(r)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		done, err := p.memberships(r, last)
		if err != nil || !done {
			return err
		}
		r.user = last
	}
	if err := p.calls(r.tenant, r.id); err != nil {
		return err
	}
	if err := p.log(r.number); err != nil || p.left <= 0 {
		return err
	}
	return p.spend("UPDATE rooms SET purged = $1 WHERE number = $2", p.now.UnixMilli(), r.number)
}

// lastOfNext is the user that ends the next run of memberships.
func (p *purge) lastOfNext(r removedRoom) (user int64, found bool, err error) {
	return p.one(`SELECT max(user_no) FROM (SELECT user_no FROM members WHERE room = $1 AND user_no > $2 ORDER BY user_no LIMIT $3) l
		HAVING count(*) > 0`, r.number, r.user, int64(sqlrows.MaxLeavers))
}

// countLeavers raises the counters of those whose memberships end. Each row is looked up by its number even when the planner
// takes the tables to be empty, as after their last rows were removed: with a join it would go through all of them for each.
const countLeavers = `UPDATE users SET user_rev = user_rev + 1 WHERE number = ANY(ARRAY(SELECT u.number FROM
	(SELECT user_no FROM members WHERE room = $1 AND user_no > $2 AND user_no <= $3 AND state = $4 ORDER BY user_no) m
	CROSS JOIN LATERAL (SELECT number FROM users WHERE number = m.user_no FOR NO KEY UPDATE) u))`

// memberships removes the marks of a run of memberships and makes those that stand end where the room did; done is
// false when the allowance did not do for that. The users' rows are locked in the order of their numbers.
func (p *purge) memberships(r removedRoom, last int64) (done bool, err error) {
	if p.left <= sqlrows.ForLeavers {
		p.left = 0 // the next step begins with this run
		return false, nil
	}
	forMarks := p.left - sqlrows.ForLeavers
	n, err := p.t.remove(`DELETE FROM marks WHERE ctid = ANY(ARRAY(SELECT k.ctid FROM members m
		CROSS JOIN LATERAL (SELECT l.ctid FROM marks l WHERE l.user_no = m.user_no AND l.room = m.room OFFSET 0) k
		WHERE m.room = $1 AND m.user_no > $2 AND m.user_no <= $3 LIMIT $4))`, r.number, r.user, last, forMarks)
	p.left -= n
	if err != nil || n == forMarks {
		return false, err
	}
	err = p.spend(countLeavers, r.number, r.user, last, int64(domain.Active))
	if err != nil {
		return false, err
	}
	err = p.spend(`UPDATE members SET state = $1, left_seq = $2, left_rev = $3,
		user_rev = (SELECT u.user_rev FROM users u WHERE u.number = members.user_no)
		WHERE room = $4 AND user_no > $5 AND user_no <= $6 AND state = $7`,
		int64(domain.Left), r.lastSeq, r.lastRev, r.number, r.user, last, int64(domain.Active))
	if err != nil {
		return false, err
	}
	return true, p.spend("UPDATE rooms SET purge_user = $1 WHERE number = $2", last, r.number)
}

// calls removes a room's jobs and dead letters.
func (p *purge) calls(tenant int64, room domain.RoomID) error {
	if err := p.rows("outbox", "tenant = $1 AND room = $2", tenant, room[:]); err != nil {
		return err
	}
	return p.roomLetters(tenant, room)
}

// tombstone removes the last of a room, when every device that could still ask for it has been forgotten: also what was
// given up after the room had been purged, and what was confirmed while it was removed.
func (p *purge) tombstone(room int64) error {
	var tenant int64
	var id domain.RoomID
	_, err := p.t.conn.first("SELECT tenant, id FROM rooms WHERE number = $1", args(room), func(r row) {
		tenant = r.Int(0)
		copy(id[:], r.Blob(1))
	})
	if err != nil {
		return err
	}
	if err := p.calls(tenant, id); err != nil {
		return err
	}
	if err := p.rows("marks", "room = $1 AND user_no IN (SELECT user_no FROM members WHERE room = $1)", room); err != nil {
		return err
	}
	if err := p.rows("members", "room = $1", room); err != nil {
		return err
	}
	return p.rows("rooms", "number = $1", room)
}
