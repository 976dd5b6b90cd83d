package sqlite

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// oldLetter removes the dead letter that was given up first when it is older than they are kept.
func (p *purge) oldLetter() (bool, error) {
	var number int64
	var of domain.NotificationID
	found, err := p.t.conn.first("SELECT number, tenant, notification FROM dead_letters WHERE at <= ? ORDER BY at LIMIT 1",
		args(p.now.Add(-domain.DeadLetterMemory).UnixMilli()), func(r row) {
			number, p.t.tenant = r.Int(0), r.Int(1)
			copy(of[:], r.Blob(2))
		})
	if err != nil || !found {
		return false, err
	}
	if p.left -= sqlrows.ForLetter; p.left < 0 {
		return true, nil // the next step begins with it
	}
	return true, p.t.removeLetter(number, of)
}

// roomLetters removes a room's dead letters and takes them from the tenant's count, a row of the allowance.
func (p *purge) roomLetters(tenant int64, room domain.RoomID) error {
	if p.left--; p.left <= 0 {
		return nil // the next step has room for both
	}
	before := p.left
	if err := p.rows("dead_letters", "(number)", "tenant = ? AND room = ?", tenant, room[:]); err != nil || p.left == before {
		return err
	}
	_, err := p.t.countLetters(tenant, p.left-before)
	return err
}
