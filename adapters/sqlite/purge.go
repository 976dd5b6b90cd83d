package sqlite

import (
	"context"
	"database/sql/driver"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
)

// Purge implements ports.Purger.
func (s *Store) Purge(ctx context.Context) (more bool, err error) {
	err = s.submit(ctx, operator, func(t *tx) error {
		p := purge{t: t, left: sqlrows.MaxSweep, now: s.cfg.Clock.Now()}
		for p.left > 0 {
			found, err := p.next()
			if err != nil || !found {
				return err
			}
		}
		more = true
		return nil
	})
	return more && err == nil, err
}

// purge removes rows until its allowance is spent: a row each, of messages a page.
type purge struct {
	t    *tx
	left int64
	now  time.Time
}

// next deals with what is first to go, as far as the allowance goes, and reports whether there was anything.
func (p *purge) next() (bool, error) {
	tenant, found, err := p.one("SELECT number FROM tenants WHERE deleted IS NOT NULL ORDER BY deleted LIMIT 1")
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
	tombstone, found, err := p.one("SELECT number FROM rooms WHERE purged <= ? ORDER BY purged LIMIT 1", sqlrows.UnseenSince(p.now))
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

func (p *purge) one(query string, values ...driver.Value) (number int64, found bool, err error) {
	found, err = p.t.conn.first(query, values, func(r row) { number = r.Int(0) })
	return number, found, err
}

// rows deletes up to the allowance of a table's rows; key is the table's primary key, where selects the rows.
func (p *purge) rows(table, key, where string, values ...driver.Value) error {
	if p.left <= 0 {
		return nil
	}
	return p.spend("DELETE FROM "+table+" WHERE "+key+" IN (SELECT "+key[1:len(key)-1]+" FROM "+table+" WHERE "+where+
		" LIMIT 0 + ?)", append(values, p.left)...)
}

// spend runs a statement and takes the rows it changed from the allowance.
func (p *purge) spend(query string, values ...driver.Value) error {
	n, err := p.t.remove(query, values...)
	p.left -= n
	return err
}

// anyRoom is one of a tenant's, by the indexes of rooms and of chats.
const anyRoom = `SELECT number FROM rooms WHERE tenant = ?1 AND type <> 'chat'
	UNION ALL SELECT number FROM rooms WHERE tenant = ?1 AND type = 'chat' LIMIT 1`

// tenant removes what hangs on rooms, then on users, then on notifications, then on the tenant, and the tenant last.
func (p *purge) tenant(tenant int64) error {
	for p.left > 0 {
		room, found, err := p.one(anyRoom, tenant)
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
		user, found, err := p.one("SELECT number FROM users WHERE tenant = ? LIMIT 1", tenant)
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
		found, err := p.notificationBy("tenant = ? ORDER BY id", tenant)
		if err != nil {
			return err
		}
		if !found {
			break
		}
	}
	return p.rest(tenant)
}

func (p *purge) room(tenant, room int64) error {
	if err := p.log(room); err != nil {
		return err
	}
	if err := p.rows("members", "(room, user)", "room = ?", room); err != nil {
		return err
	}
	return p.rows("rooms", "(number)", "number = ? AND tenant = ?", room, tenant)
}

// log removes a room's messages, also those on their way, and changes.
func (p *purge) log(room int64) error {
	if err := p.rows("streams", "(message)", "room = ?", room); err != nil {
		return err
	}
	if err := p.messages(room); err != nil {
		return err
	}
	return p.rows("room_changes", "(room, rev)", "room = ?", room)
}

// messages removes a room's first messages. Each costs as much of the allowance as it has pages, which are all
// overwritten: else a step would hold up the writer five times as long where texts are long.
func (p *purge) messages(room int64) error {
	var rows, pages int64
	err := p.t.conn.query("SELECT length(body) FROM messages WHERE pos BETWEEN ? AND ? ORDER BY pos LIMIT 0 + ?",
		args(position(room, 0), position(room, maxSeq), max(p.left, 0)), func(r row) error {
			if pages < p.left {
				rows, pages = rows+1, pages+1+r.Int(0)/pageSize
			}
			return nil
		})
	if err != nil || rows == 0 {
		return err
	}
	p.left -= pages - rows
	return p.spend(`DELETE FROM messages WHERE pos IN
		(SELECT pos FROM messages WHERE pos BETWEEN ? AND ? ORDER BY pos LIMIT 0 + ?)`,
		position(room, 0), position(room, maxSeq), rows)
}

// pageSize is SQLite's own choice.
const pageSize = 4096

// device removes a device with its marks, the device last.
func (p *purge) device(user int64, device string) error {
	if err := p.rows("marks", "(user, room, device)", "user = ? AND device = ?", user, device); err != nil {
		return err
	}
	return p.rows("devices", "(user, device)", "user = ? AND device = ?", user, device)
}

func (p *purge) user(tenant, user int64) error {
	if err := p.rows("marks", "(user, room, device)", "user = ?", user); err != nil {
		return err
	}
	if err := p.rows("devices", "(user, device)", "user = ?", user); err != nil {
		return err
	}
	return p.rows("users", "(number)", "number = ? AND tenant = ?", user, tenant)
}

func (p *purge) rest(tenant int64) error {
	for _, of := range []struct{ table, key string }{
		{"outbox", "(tenant, id)"}, {"dead_letters", "(number)"}, {"idempotency", "(tenant, user, key)"},
		{"subscriptions", "(number)"}, {"notice_places", "(tenant)"}, {"bots", "(number)"},
		{"usage", "(tenant, month)"}, {"api_keys", "(id)"}, {"signing_keys", "(id)"},
	} {
		if err := p.rows(of.table, of.key, "tenant = ?", tenant); err != nil {
			return err
		}
	}
	return p.rows("tenants", "(number)", "number = ?", tenant)
}
