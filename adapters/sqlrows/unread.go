package sqlrows

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// MemberKey names a membership by the numbers of its room and its user.
type MemberKey struct{ Room, User int64 }

// Reading is where a member stands in a room with what is to be read there.
type Reading struct {
	MemberKey
	Base             int64 // the read mark, or joining when that was later
	LastSeq, LastRev int64
}

// Counted are the unread messages of others with Base < seq <= Through, as the room stood at Rev. Who counts need not go beyond
// domain.MaxUnread.
type Counted struct {
	Base, Through, Rev int64
	N                  int64
}

// FromStart is what is known of a member's unread messages before any was counted.
func FromStart(at Reading) Counted { return Counted{Base: at.Base, Through: at.Base, Rev: at.LastRev} }

// Counts remembers what was unread for all views: a list would otherwise look at each unread message of each room, and
// at all that a member has sent without reading, at every time. It is right whoever writes the rows: a message's sender
// never changes, and deletions are in the room's log, so that a count stays true for as long as the read mark, but for the
// messages counted that were deleted since. Counts may be used by many goroutines; a nil one remembers nothing.
type Counts struct {
	mu  sync.Mutex
	lru *simplelru.LRU[MemberKey, Counted]
}

// NewCounts remembers counts of size memberships.
func NewCounts(size int) *Counts {
	lru, err := simplelru.NewLRU[MemberKey, Counted](size, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &Counts{lru: lru}
}

// Start is where to go on counting. When its Rev is below the room's, those of its messages that were deleted since are to
// be taken away first.
func (c *Counts) Start(at Reading) Counted {
	if known, found := c.get(at.MemberKey); found && known.Rev <= at.LastRev && known.Base == at.Base {
		return known
	}
	return FromStart(at) // a newer count is no use to an older snapshot
}

// Keep remembers a count, unless a newer one is remembered.
func (c *Counts) Keep(key MemberKey, now Counted) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, found := c.lru.Peek(key); found && (known == now || known.Rev > now.Rev) {
		return
	}
	c.lru.Add(key, now)
}

func (c *Counts) get(key MemberKey) (Counted, bool) {
	if c == nil {
		return Counted{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(key)
}
