package sqlite

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/chatapi/chatapi/domain"
)

// reading is where a member stands in a room with what is to be read there.
type reading struct {
	memberKey
	base             int64 // the read mark, or joining when that was later
	lastSeq, lastRev int64
}

// counted are the unread messages of others with base < seq <= through, as the room stood at rev: at most domain.MaxUnread.
type counted struct {
	base, through, rev int64
	n                  int64
}

// countUnread goes on counting where known ends. A row's rest is looked at only when the message was ever changed.
func countUnread(c *conn, at reading, known counted) (counted, error) {
	wanted := domain.MaxUnread - known.n
	known.rev = at.lastRev
	if known.through >= at.lastSeq || wanted == 0 {
		return known, nil
	}
	_, err := c.first(`SELECT count(*), max(pos) FROM (SELECT x.pos FROM messages x WHERE x.pos > ? AND x.pos <= ?
		AND x.sender <> ? AND (x.rev IS NULL OR x.deleted IS NULL) ORDER BY x.pos LIMIT 0 + ?)`,
		args(position(at.room, known.through), position(at.room, at.lastSeq), at.user, wanted), func(r row) {
			known.n += r.int(0)
			known.through = at.lastSeq
			if r.int(0) == wanted {
				known.through = r.int(1) & maxSeq
			}
		})
	return known, err
}

// unread counts in a job, whose own writes may yet be rolled back: nothing is remembered.
func (t *tx) unread(at reading) (int64, error) {
	found, err := countUnread(t.conn, at, counted{base: at.base, through: at.base})
	return found.n, err
}

// unread goes on from what was counted last time. A message's sender never changes, and deletions are in the room's
// log: so a count stays true for as long as the read mark, but for the messages counted that were deleted since.
func (v *view) unread(at reading) (int64, error) {
	if at.base >= at.lastSeq {
		return 0, nil
	}
	remembered, found := v.counts.get(at.memberKey)
	newer := found && remembered.rev > at.lastRev // this snapshot is older than that of the count
	known := remembered
	switch {
	case !found || newer || known.base != at.base:
		known = counted{base: at.base, through: at.base}
	case known.rev < at.lastRev:
		deleted, err := deletedOf(v.conn, at, known)
		if err != nil {
			return 0, err
		}
		known.n -= deleted
	}
	now, err := countUnread(v.conn, at, known)
	if err != nil {
		return 0, err
	}
	if !newer && now != remembered {
		v.counts.put(at.memberKey, now)
	}
	return now.n, nil
}

// deletedOf is how many of the messages counted were deleted since. A message is deleted once.
func deletedOf(c *conn, at reading, known counted) (n int64, err error) {
	_, err = c.first(`SELECT count(*) FROM room_changes c CROSS JOIN messages x ON x.pos = ? + c.target AND x.sender <> ?
		WHERE c.room = ? AND c.rev > ? AND c.rev <= ? AND c.kind = 8 AND c.target > ? AND c.target <= ?`,
		args(position(at.room, 0), at.user, at.room, known.rev, at.lastRev, known.base, known.through),
		func(r row) { n = r.int(0) })
	return n, err
}

// counts remembers what was unread for all views: a list would otherwise look at each unread message of each room, and
// at all that a member has sent without reading, at every time.
type counts struct {
	mu  sync.Mutex
	lru *simplelru.LRU[memberKey, counted]
}

func newCounts() *counts {
	lru, err := simplelru.NewLRU[memberKey, counted](cachedMembers, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &counts{lru: lru}
}

func (c *counts) get(key memberKey) (counted, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(key)
}

func (c *counts) put(key memberKey, n counted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Add(key, n)
}
