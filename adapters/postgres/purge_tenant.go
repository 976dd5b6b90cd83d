package postgres

import (
	"slices"
	"sync"
)

// departing remembers of deleted tenants the transactions that were under way when they were first seen to be deleted: one
// of those may have found the tenant alive, and writes for it yet. What it writes would be nobody's to remove.
type departing struct {
	mu   sync.Mutex
	open map[int64][]string // by the tenant's number
}

// keep is who of those remembered is among now; of a tenant first seen they all are. Who is left is remembered.
func (d *departing) keep(tenant int64, now []string) (left int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if before, seen := d.open[tenant]; seen {
		now = slices.DeleteFunc(slices.Clone(before), func(id string) bool { return !slices.Contains(now, id) })
	}
	if d.open == nil {
		d.open = map[int64][]string{}
	}
	d.open[tenant] = now
	return len(now)
}

func (d *departing) forget(tenant int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, tenant)
}

// underWay are the transactions of all nodes, but for this one: of the sessions that are present in this database. Each has
// an id of its own from its beginning.
const underWay = `SELECT l.virtualtransaction FROM pg_locks l
	WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND l.pid <> pg_backend_pid()
	AND l.pid IN (SELECT p.pid FROM pg_locks p WHERE p.locktype = 'advisory' AND p.mode = 'ShareLock' AND p.granted
		AND p.classid = ` + presentClass + ` AND p.objid = ` + presentID + ` AND p.objsubid = 2
		AND p.database = (SELECT oid FROM pg_database WHERE datname = current_database()))`

// departed is the tenant deleted first, once all transactions have ended that may write for it; until then purge waits.
func (p *purge) departed() (tenant int64, found bool, err error) {
	tenant, found, err = p.one("SELECT number FROM tenants WHERE deleted IS NOT NULL ORDER BY deleted LIMIT 1")
	if err != nil || !found {
		return 0, false, err
	}
	var now []string
	err = p.t.conn.query(underWay, nil, func(r row) error {
		now = append(now, r.Text(0))
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	if p.t.store.departing.keep(tenant, now) > 0 {
		p.waits = true
		return 0, false, nil
	}
	return tenant, true, nil
}

// tenant removes what hangs on rooms, then on users, then on notifications, then on the tenant, and the tenant last.
func (p *purge) tenant(tenant int64) error {
	for p.left > 0 {
		room, found, err := p.one("SELECT number FROM rooms WHERE tenant = $1 LIMIT 1", tenant)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		if err := p.room(tenant, room); err != nil {
			return err
		}
	}
	for p.left > 0 {
		user, found, err := p.one("SELECT number FROM users WHERE tenant = $1 LIMIT 1", tenant)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		if err := p.user(tenant, user); err != nil {
			return err
		}
	}
	for p.left > 0 {
		found, err := p.notificationBy("tenant = $1 ORDER BY id", tenant)
		if err != nil {
			return err
		}
		if !found {
			break
		}
	}
	return p.rest(tenant)
}

func (p *purge) rest(tenant int64) error {
	for _, table := range [...]string{
		"outbox", "dead_letters", "idempotency", "subscriptions", "notice_places", "bots", "usage", "api_keys", "signing_keys",
	} {
		if err := p.rows(table, "tenant = $1", tenant); err != nil {
			return err
		}
	}
	if p.left <= 0 {
		return nil
	}
	p.t.store.departing.forget(tenant)
	return p.rows("tenants", "number = $1", tenant)
}
