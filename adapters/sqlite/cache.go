package sqlite

import (
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// layers is a cache over rows in three layers: what is committed, what this batch changed, and what the running job
// changed. A job's layer is merged into the batch's when the job is kept and dropped when it is undone; the batch's
// is merged when the commit is durable and dropped when it fails. nil stands for a row known to be gone.
type layers[K comparable, V any] struct {
	committed  *simplelru.LRU[K, *V]
	batch, job map[K]*V
	weigh      func(*V) int // bytes of a row that count; nil: rows have a size of their own
	weight     *int         // of what is committed
}

func newLayers[K comparable, V any](size int, weigh func(*V) int) layers[K, V] {
	weight := new(int)
	var evicted func(K, *V)
	if weigh != nil {
		evicted = func(_ K, v *V) { *weight -= weigh(v) }
	}
	lru, err := simplelru.NewLRU(size, evicted)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return layers[K, V]{committed: lru, batch: map[K]*V{}, job: map[K]*V{}, weigh: weigh, weight: weight}
}

func (l *layers[K, V]) get(key K) (*V, bool) {
	if v, ok := l.job[key]; ok {
		return v, true
	}
	if v, ok := l.batch[key]; ok {
		return v, true
	}
	return l.committed.Get(key)
}

func (l *layers[K, V]) put(key K, v *V) { l.job[key] = v }

func (l *layers[K, V]) release() {
	for key, v := range l.job {
		l.batch[key] = v
	}
	clear(l.job)
}

func (l *layers[K, V]) rollback() { clear(l.job) }

func (l *layers[K, V]) publish() {
	for key, v := range l.batch {
		if v == nil {
			l.committed.Remove(key)
			continue
		}
		l.add(key, v)
	}
	clear(l.batch)
}

// add keeps a committed row, at the expense of those longest unused when it is one too many or they weigh too much.
func (l *layers[K, V]) add(key K, v *V) {
	if l.weigh == nil {
		l.committed.Add(key, v)
		return
	}
	if old, ok := l.committed.Peek(key); ok {
		*l.weight -= l.weigh(old)
	}
	*l.weight += l.weigh(v)
	l.committed.Add(key, v)
	for *l.weight > cachedBytes {
		l.committed.RemoveOldest()
	}
}

// drop also forgets what was committed: after a failed batch nothing is taken for granted.
func (l *layers[K, V]) drop() {
	clear(l.job)
	clear(l.batch)
	l.committed.Purge()
}

// The sizes of the writer's caches, in rows. Together they take at most some 30 MB, and the names and metadata of rooms
// cachedBytes.
const (
	cachedTenants = 4096
	cachedUsers   = 65536
	cachedRooms   = 16384
	cachedMembers = 65536
	cachedBytes   = 32 << 20
)

type (
	userKey struct {
		tenant int64
		id     domain.UserID
	}
	memberKey struct{ room, user int64 }
)

// caches hold rows that almost every job needs.
type caches struct {
	tenants layers[domain.TenantID, int64]
	users   layers[userKey, int64]
	rooms   layers[domain.RoomID, room]
	members layers[memberKey, domain.Member]
	gone    func(domain.TenantID) // hears of tenants deleted by a commit
}

func newCaches(gone func(domain.TenantID)) *caches {
	return &caches{
		tenants: newLayers[domain.TenantID, int64](cachedTenants, nil),
		users:   newLayers[userKey, int64](cachedUsers, nil),
		rooms:   newLayers[domain.RoomID, room](cachedRooms, (*room).weight),
		members: newLayers[memberKey, domain.Member](cachedMembers, nil),
		gone:    gone,
	}
}

func (c *caches) release() {
	c.tenants.release()
	c.users.release()
	c.rooms.release()
	c.members.release()
}

func (c *caches) rollback() {
	c.tenants.rollback()
	c.users.rollback()
	c.rooms.rollback()
	c.members.rollback()
}

func (c *caches) publish() {
	for id, number := range c.tenants.batch {
		if number == nil {
			c.gone(id)
		}
	}
	for _, r := range c.rooms.batch {
		if r != nil {
			r.dirty = false
		}
	}
	c.tenants.publish()
	c.users.publish()
	c.rooms.publish()
	c.members.publish()
}

func (c *caches) drop() {
	c.tenants.drop()
	c.users.drop()
	c.rooms.drop()
	c.members.drop()
}

// flush writes the counters of the rooms that the batch changed, once each.
func (c *caches) flush(db *conn) error {
	for id, r := range c.rooms.batch {
		if _, changed := c.rooms.job[id]; changed {
			continue // the running job's is newer: of a room it removed, this would overwrite the last position
		}
		if err := r.flush(db); err != nil {
			return err
		}
	}
	for _, r := range c.rooms.job {
		if err := r.flush(db); err != nil {
			return err
		}
	}
	return nil
}

// flush writes the counters of a room that is there and whose row does not say them.
func (r *room) flush(db *conn) error {
	if r == nil || !r.dirty {
		return nil
	}
	return db.run("UPDATE rooms SET last_seq = ?, last_rev = ?, changes = ?, active = ?, members = ? WHERE number = ? AND tenant = ?",
		r.LastSeq, r.LastRev, r.changes, r.active, r.Members, r.number, r.tenant)
}

// tenant resolves a live tenant's number.
func (c *caches) tenant(db *conn, id domain.TenantID) (int64, error) {
	if number, ok := c.tenants.get(id); ok {
		if number == nil {
			return 0, domain.ErrTenantNotFound
		}
		return *number, nil
	}
	number, err := findTenant(db, id)
	if err != nil {
		return 0, err
	}
	c.tenants.put(id, &number)
	return number, nil
}

// room is a row of the table rooms. dirty: its counters are ahead of the row's.
type room struct {
	domain.Room
	number, tenant  int64
	changes, active int64
	bots            int64          // how many of its members are bots now
	known           []domain.BotID // those, once they were asked for: see botsOf
	dirty           bool
}

// weight is what a room's own texts take in memory.
func (r *room) weight() int {
	n := len(r.Metadata)
	if r.Name != nil {
		n += len(*r.Name)
	}
	return n
}

const roomColumns = `r.number, r.tenant, r.id, r.type, r.first_seq, r.last_seq, r.last_rev, r.changes, r.active, r.created,
	r.unique_key, r.name, r.metadata, r.members, r.handoff, r.bots,
	CASE WHEN r.assignee IS NOT NULL THEN (SELECT a.id FROM users a WHERE a.number = r.assignee) END`

// roomWidth is the number of roomColumns.
const roomWidth = 17

func scanRoom(r row) *room {
	out := &room{number: r.Int(0), tenant: r.Int(1), changes: r.Int(7), active: r.Int(8), bots: r.Int(15)}
	out.Room = domain.Room{
		Type: domain.RoomType(r.Text(3)), FirstSeq: r.Int(4), LastSeq: r.Int(5), LastRev: r.Int(6),
		CreatedAt: sqlrows.FromMillis(r.Int(9)), UniqueKey: r.Text(10), Metadata: r.Blob(12), Members: r.Int(13), Name: sqlrows.Pointer(r, 11),
		Handoff: sqlrows.ScanHandoff(r.Int(14), r.Text(16)),
	}
	copy(out.ID[:], r.Blob(2))
	return out
}
