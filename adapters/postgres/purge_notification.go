package postgres

import "github.com/chatapi/chatapi/domain"

// oldNotification removes the oldest notification when it is older than it is held.
func (p *purge) oldNotification() (bool, error) {
	return p.notificationBy("created <= $1 ORDER BY created", p.now.Add(-domain.NotificationMemory).UnixMilli())
}

// notificationBy removes, as far as the allowance goes, the first notification of a condition and an order, with what
// hangs on it: recipients, calls, and dead letters, which nobody could replay. The notification goes last. It is locked
// after the tenant's letters, like by all who need both: nobody becomes its recipient meanwhile.
func (p *purge) notificationBy(where string, values ...any) (bool, error) {
	var number, tenant int64
	var id domain.NotificationID
	found, err := p.t.conn.first("SELECT number, tenant, id FROM notifications WHERE "+where+" LIMIT 1", values,
		func(r row) {
			number, tenant = r.Int(0), r.Int(1)
			copy(id[:], r.Blob(2))
		})
	if err != nil || !found {
		return false, err
	}
	p.t.tenant = tenant
	if err := p.t.lockLetters(); err != nil {
		return false, err
	}
	if err := p.t.put("SELECT 1 FROM notifications WHERE number = $1 AND tenant = $2 FOR UPDATE", number, tenant); err != nil {
		return false, err
	}
	if err := p.rows("notices", "notification = $1 AND tenant = $2", number, tenant); err != nil {
		return false, err
	}
	if err := p.lettersOf(tenant, id); err != nil {
		return false, err
	}
	if err := p.rows("outbox", "tenant = $1 AND notification = $2", tenant, id[:]); err != nil {
		return false, err
	}
	if err := p.rows("expansions", "notification = $1 AND tenant = $2", number, tenant); err != nil {
		return false, err
	}
	return true, p.rows("notifications", "number = $1 AND tenant = $2", number, tenant)
}

// lettersOf removes a notification's dead letters, which are locked. Each changes two rows, the tenant's too.
func (p *purge) lettersOf(tenant int64, id domain.NotificationID) error {
	for p.left > 0 {
		letter, found, err := p.one("SELECT number FROM dead_letters WHERE tenant = $1 AND notification = $2 LIMIT 1", tenant, id[:])
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
