package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// notification is a row of the table notifications.
type notification struct {
	domain.Notification
	number, total int64
}

// Notification implements ports.NotificationReader.
func (r *reader) Notification(id domain.NotificationID) (domain.Notification, error) {
	if err := r.source.ready(); err != nil {
		return domain.Notification{}, err
	}
	n, err := r.notification(id)
	return n.Notification, err
}

func (r *reader) notification(id domain.NotificationID) (n notification, err error) {
	var broken error
	found, err := r.conn.first("SELECT number, total, topic, created, body FROM notifications WHERE tenant = ? AND id = ?",
		args(r.tenant, id[:]), func(row row) {
			n.number, n.total = row.Int(0), row.Int(1)
			n.Notification, broken = sqlrows.ScanNotification(row[2:], id)
		})
	switch {
	case err != nil:
		return notification{}, err
	case !found:
		return notification{}, domain.ErrNoNotification
	}
	return n, broken
}

// KnownNotifications implements ports.NotificationReader.
func (r *reader) KnownNotifications(ids []domain.NotificationID) (known []domain.NotificationID, err error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	for _, id := range ids {
		switch _, err := r.numberOf(id); {
		case errors.Is(err, domain.ErrNoNotification):
		case err != nil:
			return nil, err
		default:
			known = append(known, id)
		}
	}
	return known, nil
}

// numberOf is a notification's number; domain.ErrNoNotification.
func (r *reader) numberOf(id domain.NotificationID) (number int64, err error) {
	found, err := r.conn.first("SELECT number FROM notifications WHERE tenant = ? AND id = ?", args(r.tenant, id[:]),
		func(row row) { number = row.Int(0) })
	if err == nil && !found {
		err = domain.ErrNoNotification
	}
	return number, err
}

// AddNotification implements ports.NotificationWriter. The room's position and the last subscription say later who was
// there when the notification was made.
func (t *tx) AddNotification(n domain.Notification, targets domain.Targets) error {
	if err := t.ready(); err != nil {
		return err
	}
	e := expansion{stage: sqlrows.StageUsers}
	var err error
	if e.room, e.rev, err = t.audience(targets.Room); err != nil {
		return err
	}
	if targets.Subscribers {
		if e.subscribers, err = t.lastSubscription(); err != nil {
			return err
		}
	}
	users, err := json.Marshal(targets.Users)
	if err != nil {
		return err
	}
	result, err := t.write("INSERT INTO notifications (tenant, id, topic, created, total, body) VALUES (?, ?, ?, ?, 0, ?)",
		t.tenant, n.ID[:], n.Topic, n.CreatedAt.UnixMilli(), domain.EncodeBody(nil, "", n.Payload))
	if err != nil {
		return err
	}
	if e.notification, err = result.LastInsertId(); err != nil {
		return err
	}
	return t.put(`INSERT INTO expansions (notification, tenant, created, stage, place, total, room, rev, subscribers, users)
		VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?, ?)`,
		e.notification, t.tenant, n.CreatedAt.UnixMilli(), e.stage, e.room, e.rev, e.subscribers, string(users))
}

// held is what keeps a notification's payload: targets that are to be dealt with, recipients, calls and dead letters.
const held = `EXISTS (SELECT 1 FROM expansions e WHERE e.notification = notifications.number)
	OR EXISTS (SELECT 1 FROM notices x WHERE x.notification = notifications.number)
	OR EXISTS (SELECT 1 FROM outbox o WHERE o.tenant = notifications.tenant AND o.notification = notifications.id)
	OR EXISTS (SELECT 1 FROM dead_letters d WHERE d.tenant = notifications.tenant AND d.notification = notifications.id)`

// releaseNotification clears the payload of one that nobody waits for any more. Who ends a waiting calls waitsNoMore, and
// the unit of work this at its end.
func (t *tx) releaseNotification(id domain.NotificationID) error {
	return t.put("UPDATE notifications SET body = NULL WHERE tenant = ? AND id = ? AND body IS NOT NULL AND NOT ("+held+")",
		t.tenant, id[:])
}

// Unexpanded implements ports.Notifications.
func (s *Store) Unexpanded(ctx context.Context, before time.Time, limit int) (left []ports.TenantNotification, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = s.read(ctx, func(c *conn) error {
		return c.query(`SELECT t.id, n.id FROM expansions e CROSS JOIN notifications n ON n.number = e.notification
			CROSS JOIN tenants t ON t.number = e.tenant AND t.deleted IS NULL
			WHERE e.created < ? ORDER BY e.created, e.notification LIMIT 0 + ?`, args(before.UnixMilli(), int64(limit)), func(r row) error {
			of := ports.TenantNotification{Tenant: domain.TenantID(r.Text(0))}
			copy(of.ID[:], r.Blob(1))
			left = append(left, of)
			return nil
		})
	})
	return left, err
}
