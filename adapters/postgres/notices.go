package postgres

import (
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// Notices implements ports.NotificationReader. The user's number is the tenant's already; to ask for that once more would
// have the planner expect few, and sort what is in order.
func (r *reader) Notices(user domain.UserID, after int64, limit int) (notices []domain.Notice, err error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	number, err := r.source.user(user)
	if err != nil || number == 0 {
		return nil, err
	}
	err = r.conn.query(`SELECT x.place, n.id, n.topic, n.created, n.body FROM notices x
		JOIN notifications n ON n.number = x.notification
		WHERE x.user_no = $1 AND x.place > $2 ORDER BY x.place LIMIT $3`,
		args(number, after, int64(limit)), func(row row) error {
			of, err := sqlrows.ScanNotification(row[2:], domain.NotificationID(row.Blob(1)))
			notices = append(notices, domain.Notice{Notification: of, Place: row.Int(0)})
			return err
		})
	return notices, err
}

// LastNotice implements ports.NotificationReader. Who takes a place holds the row's lock until the commit: places become
// visible in their order, on all nodes.
func (r *reader) LastNotice() (place int64, err error) {
	if err := r.source.ready(); err != nil {
		return 0, err
	}
	_, err = r.conn.first("SELECT last FROM notice_places WHERE tenant = $1", args(r.tenant), func(row row) { place = row.Int(0) })
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
	n, err := t.remove("DELETE FROM notices WHERE notification = $1 AND user_no = $2 AND tenant = $3", of, number, t.tenant)
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
	n, err := t.lockNotification(id)
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

// addNotices makes users recipients, those but who have it, at the tenant's next place, which is taken when there are any.
// Nobody else adds any meanwhile: the notification is locked. One who is just settled is passed over and not waited for.
const addNotices = `WITH fresh AS MATERIALIZED (SELECT DISTINCT w.user_no FROM unnest($3::bigint[]) w (user_no)
		WHERE NOT EXISTS (SELECT 1 FROM notices x WHERE x.notification = $2 AND x.user_no = w.user_no)),
	taken AS (INSERT INTO notice_places (tenant, last) SELECT $1::bigint, 1 WHERE EXISTS (SELECT 1 FROM fresh)
		ON CONFLICT (tenant) DO UPDATE SET last = notice_places.last + 1 RETURNING last)
	INSERT INTO notices (tenant, notification, user_no, place)
	SELECT $1, $2, fresh.user_no, taken.last FROM fresh CROSS JOIN taken RETURNING user_no, place`

// deliver makes users recipients of a notification, which is locked, those but who have it, and tells of it. It returns how
// many have become recipients.
func (t *tx) deliver(n notification, to []recipient) (int, error) {
	if len(to) == 0 {
		return 0, nil
	}
	numbers := make([]int64, len(to))
	for i, r := range to {
		numbers[i] = r.number
	}
	var place int64
	fresh := make(map[int64]bool, len(to))
	err := t.returning(addNotices, args(t.tenant, n.number, numbers), func(r row) error {
		fresh[r.Int(0)], place = true, r.Int(1)
		return nil
	})
	if err != nil || len(fresh) == 0 {
		return 0, err
	}
	users := make([]domain.UserID, 0, len(fresh))
	for _, r := range to {
		if fresh[r.number] {
			users = append(users, r.id)
			delete(fresh, r.number) // who is named twice is told once
		}
	}
	if len(fresh) > 0 {
		return 0, errors.New("postgres: a notice of nobody")
	}
	t.emit(domain.Event{
		Kind: domain.EventNotification, Notice: &domain.Notice{Notification: n.Notification, Place: place}, Users: users,
	})
	return len(users), nil
}
