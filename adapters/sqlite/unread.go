package sqlite

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// countUnread goes on counting where known ends. A row's rest is looked at only when the message was ever changed.
func countUnread(c *conn, at sqlrows.Reading, known sqlrows.Counted) (sqlrows.Counted, error) {
	wanted := domain.MaxUnread - known.N
	known.Rev = at.LastRev
	if known.Through >= at.LastSeq || wanted == 0 {
		return known, nil
	}
	_, err := c.first(`SELECT count(*), max(pos) FROM (SELECT x.pos FROM messages x WHERE x.pos > ? AND x.pos <= ?
		AND x.sender <> ? AND (x.rev IS NULL OR x.deleted IS NULL) ORDER BY x.pos LIMIT 0 + ?)`,
		args(position(at.Room, known.Through), position(at.Room, at.LastSeq), at.User, wanted),
		func(r row) {
			known.N += r.Int(0)
			known.Through = at.LastSeq
			if r.Int(0) == wanted {
				known.Through = r.Int(1) & maxSeq
			}
		})
	return known, err
}

// unread counts in a job, whose own writes may yet be rolled back: nothing is remembered.
func (t *tx) unread(at sqlrows.Reading) (int64, error) {
	found, err := countUnread(t.conn, at, sqlrows.FromStart(at))
	return found.N, err
}

// unread goes on from what was counted last time.
func (v *view) unread(at sqlrows.Reading) (int64, error) {
	if at.Base >= at.LastSeq {
		return 0, nil
	}
	known := v.counts.Start(at)
	if known.Rev < at.LastRev {
		deleted, err := deletedOf(v.conn, at, known)
		if err != nil {
			return 0, err
		}
		known.N -= deleted
	}
	now, err := countUnread(v.conn, at, known)
	if err != nil {
		return 0, err
	}
	v.counts.Keep(at.MemberKey, now)
	return now.N, nil
}

// deletedOf is how many of the messages counted were deleted since. A message is deleted once.
func deletedOf(c *conn, at sqlrows.Reading, known sqlrows.Counted) (n int64, err error) {
	_, err = c.first(`SELECT count(*) FROM room_changes c CROSS JOIN messages x ON x.pos = ? + c.target AND x.sender <> ?
		WHERE c.room = ? AND c.rev > ? AND c.rev <= ? AND c.kind = 8 AND c.target > ? AND c.target <= ?`,
		args(position(at.Room, 0), at.User, at.Room, known.Rev, at.LastRev, known.Base, known.Through),
		func(r row) { n = r.Int(0) })
	return n, err
}
