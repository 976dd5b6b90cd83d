package sqlite

import (
	"encoding/json"
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// Notices implements ports.NotificationReader.
func (r *reader) Notices(user domain.UserID, after int64, limit int) (notices []domain.Notice, err error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	number, err := r.source.user(user)
	if err != nil || number == 0 {
		return nil, err
	}
	err = r.conn.query(`SELECT x.place, n.id, n.topic, n.created, n.body FROM notices x
		CROSS JOIN notifications n ON n.number = x.notification AND +n.tenant = ?
		WHERE x.user = ? AND x.place > ? ORDER BY x.place LIMIT 0 + ?`,
		args(r.tenant, number, after, int64(limit)), func(row row) error {
			of, err := sqlrows.ScanNotification(row[2:], domain.NotificationID(row.Blob(1)))
			notices = append(notices, domain.Notice{Notification: of, Place: row.Int(0)})
			return err
		})
	return notices, err
}

// LastNotice implements ports.NotificationReader. Places are given by the one writer, within the transaction that shows
// them.
func (r *reader) LastNotice() (place int64, err error) {
	if err := r.source.ready(); err != nil {
		return 0, err
	}
	_, err = r.conn.first("SELECT last FROM notice_places WHERE tenant = ?", args(r.tenant), func(row row) { place = row.Int(0) })
	return place, err
}

// SettleNotice implements ports.NotificationWriter.
func (t *tx) SettleNotice(user domain.UserID, id domain.NotificationID) (waiting bool, err error) {
	if err := t.ready(); err != nil {
		return false, err
	}
	of, err := t.numberOf(id)
	if err != nil {
		return false, err
	}
	number, err := t.user(user)
	if err != nil || number == 0 {
		return false, err
	}
	n, err := t.remove("DELETE FROM notices WHERE notification = ? AND user = ?", of, number)
	if err != nil || n == 0 {
		return false, err
	}
	t.waitsNoMore(id)
	return true, nil
}

// AddRecipient implements ports.NotificationWriter.
func (t *tx) AddRecipient(id domain.NotificationID, user domain.UserID) error {
	if err := t.ready(); err != nil {
		return err
	}
	n, err := t.notification(id)
	if err != nil {
		return err
	}
	if n.Payload == nil {
		return domain.ErrNoNotification
	}
	number, err := t.ensureUser(user)
	if err != nil {
		return err
	}
	_, err = t.deliver(n, []recipient{{number, user}})
	return err
}

// recipient is a user who is to have a notification.
type recipient struct {
	number int64
	id     domain.UserID
}

// deliver makes users recipients of a notification, those but who have it, at the tenant's next place, and tells of it.
// It returns how many have become recipients.
func (t *tx) deliver(n notification, to []recipient) (int, error) {
	if len(to) == 0 {
		return 0, nil
	}
	last, err := t.LastNotice()
	if err != nil {
		return 0, err
	}
	users, err := t.insertNotices(n.number, last+1, to)
	if err != nil || len(users) == 0 {
		return 0, err
	}
	err = t.put("INSERT INTO notice_places (tenant, last) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET last = excluded.last",
		t.tenant, last+1)
	if err != nil {
		return 0, err
	}
	t.emit(domain.Event{
		Kind: domain.EventNotification, Notice: &domain.Notice{Notification: n.Notification, Place: last + 1}, Users: users,
	})
	return len(users), nil
}

// insertNotices returns those who had no notice of the notification yet.
func (t *tx) insertNotices(notification, place int64, to []recipient) (users []domain.UserID, err error) {
	numbers := make([]int64, len(to))
	names := make(map[int64]domain.UserID, len(to))
	for i, r := range to {
		numbers[i], names[r.number] = r.number, r.id
	}
	list, err := json.Marshal(numbers)
	if err != nil {
		return nil, err
	}
	err = t.returning(`INSERT INTO notices (notification, user, place) SELECT ?, value, ? FROM json_each(?) WHERE true
		ON CONFLICT (notification, user) DO NOTHING RETURNING user`,
		args(notification, place, string(list)), func(r row) error {
			id, ok := names[r.Int(0)]
			if !ok {
				return errors.New("sqlite: a notice of nobody")
			}
			users = append(users, id)
			return nil
		})
	return users, err
}
