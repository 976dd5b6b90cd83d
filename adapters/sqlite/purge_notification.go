package sqlite

import (
	"database/sql/driver"

	"github.com/chatapi/chatapi/domain"
)

// oldNotification removes the oldest notification when it is older than it is held.
func (p *purge) oldNotification() (bool, error) {
	return p.notificationBy("created <= ? ORDER BY created", p.now.Add(-domain.NotificationMemory).UnixMilli())
}

// notificationBy removes, as far as the allowance goes, the first notification of a condition and an order, with what
// hangs on it: recipients, calls, and dead letters, which nobody could replay. The notification goes last.
func (p *purge) notificationBy(where string, values ...driver.Value) (bool, error) {
	var number, tenant, size int64
	var id domain.NotificationID
	found, err := p.t.conn.first("SELECT number, tenant, id, length(body) FROM notifications WHERE "+where+" LIMIT 1", values,
		func(r row) {
			number, tenant, size = r.Int(0), r.Int(1), r.Int(3)
			copy(id[:], r.Blob(2))
		})
	if err != nil || !found {
		return false, err
	}
	if err := p.rows("notices", "(notification, user)", "notification = ?", number); err != nil {
		return false, err
	}
	if err := p.lettersOf(tenant, id); err != nil {
		return false, err
	}
	if err := p.rows("outbox", "(tenant, id)", "tenant = ? AND notification = ?", tenant, id[:]); err != nil {
		return false, err
	}
	if err := p.rows("expansions", "(notification)", "notification = ?", number); err != nil {
		return false, err
	}
	if p.left -= size / pageSize; p.left < 0 {
		p.left = 0 // its pages are overwritten in a step of their own
	}
	return true, p.rows("notifications", "(number)", "number = ? AND tenant = ?", number, tenant)
}

// lettersOf removes a notification's dead letters. Each changes two rows, the tenant's too.
func (p *purge) lettersOf(tenant int64, id domain.NotificationID) error {
	p.t.tenant = tenant
	for p.left > 0 {
		letter, found, err := p.one("SELECT number FROM dead_letters WHERE tenant = ? AND notification = ? LIMIT 1", tenant, id[:])
		if err != nil || !found {
			return err
		}
		if p.left -= 2; p.left < 0 {
			p.left = 0
			return nil
		}
		if err := p.t.removeLetter(letter, domain.NotificationID{}); err != nil {
			return err
		}
	}
	return nil
}
