package postgres

import (
	"context"
	"encoding/json"
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

const notificationByID = "SELECT number, total, topic, created, body FROM notifications WHERE tenant = $1 AND id = $2"

// Notification implements ports.NotificationReader.
func (r *reader) Notification(id domain.NotificationID) (domain.Notification, error) {
	if err := r.source.ready(); err != nil {
		return domain.Notification{}, err
	}
	n, err := r.notification(notificationByID, id)
	return n.Notification, err
}

func (r *reader) notification(query string, id domain.NotificationID) (n notification, err error) {
	var broken error
	found, err := r.conn.first(query, args(r.tenant, id[:]), func(row row) {
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

// lockNotification finds one that gets recipients or calls, or loses its payload, by nobody else until the commit.
func (t *tx) lockNotification(id domain.NotificationID) (notification, error) {
	return t.notification(notificationByID+" FOR NO KEY UPDATE", id)
}

// KnownNotifications implements ports.NotificationReader.
func (r *reader) KnownNotifications(ids []domain.NotificationID) (known []domain.NotificationID, err error) {
	if err := r.source.ready(); err != nil || len(ids) == 0 {
		return nil, err
	}
	list := make([][]byte, len(ids))
	for i := range ids {
		list[i] = ids[i][:]
	}
	found := make(map[domain.NotificationID]bool, len(ids))
	err = r.conn.query("SELECT id FROM notifications WHERE tenant = $1 AND id = ANY($2::uuid[])", args(r.tenant, list),
		func(row row) error {
			found[domain.NotificationID(row.Blob(0))] = true
			return nil
		})
	for _, id := range ids {
		if found[id] {
			known = append(known, id)
		}
	}
	return known, err
}

// numberOf is a notification's number; domain.ErrNoNotification.
func (r *reader) numberOf(id domain.NotificationID) (number int64, err error) {
	found, err := r.conn.first("SELECT number FROM notifications WHERE tenant = $1 AND id = $2", args(r.tenant, id[:]),
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
		if e.subscribers, err = t.lastSubscription(n.Topic); err != nil {
			return err
		}
	}
	users, err := json.Marshal(targets.Users)
	if err != nil {
		return err
	}
	return t.put(`WITH made AS (INSERT INTO notifications (tenant, id, topic, created, total, body)
			VALUES ($1, $2, $3, $4, 0, $5) RETURNING number)
		INSERT INTO expansions (notification, tenant, created, stage, place, total, room, rev, subscribers, users)
		SELECT number, $1, $4, $6, 0, 0, $7, $8, $9, $10 FROM made`,
		t.tenant, n.ID[:], n.Topic, n.CreatedAt.UnixMilli(), domain.EncodeBody(nil, "", n.Payload),
		e.stage, e.room, e.rev, e.subscribers, string(users))
}

// held is what keeps a notification's payload: targets that are to be dealt with, recipients, calls and dead letters.
const held = `EXISTS (SELECT 1 FROM expansions e WHERE e.notification = n.number)
	OR EXISTS (SELECT 1 FROM notices x WHERE x.notification = n.number)
	OR EXISTS (SELECT 1 FROM outbox o WHERE o.tenant = n.tenant AND o.notification = n.id)
	OR EXISTS (SELECT 1 FROM dead_letters d WHERE d.tenant = n.tenant AND d.notification = n.id)`

// farFromReleased is how many recipients a notification has yet when whoever ends a waiting leaves it to a later one to look
// whether anybody waits: they need not go one by one then. There would have to be as many at the same time, all of them the
// last, for nobody to look; the payload goes with the notification then.
const farFromReleased = 100

// releaseNotification clears the payload of one that nobody waits for any more. Who ends a waiting calls waitsNoMore, and
// the unit of work this at its end. Whether anybody waits is seen under the notification's lock: of the last two at the same
// time, one sees that the other waits no more.
func (t *tx) releaseNotification(id domain.NotificationID) error {
	var number, waiting int64
	found, err := t.conn.first(`SELECT n.number, (SELECT count(*) FROM (SELECT 1 FROM notices x WHERE x.notification = n.number LIMIT $3) those)
		FROM notifications n WHERE n.tenant = $1 AND n.id = $2 AND n.body IS NOT NULL`,
		args(t.tenant, id[:], int64(farFromReleased)), func(r row) { number, waiting = r.Int(0), r.Int(1) })
	if err != nil || !found || waiting >= farFromReleased {
		return err
	}
	return t.conn.together(
		step{query: "SELECT 1 FROM notifications WHERE number = $1 AND tenant = $2 FOR NO KEY UPDATE", args: args(number, t.tenant)},
		step{query: "UPDATE notifications n SET body = NULL WHERE n.number = $1 AND n.tenant = $2 AND NOT (" + held + ")", args: args(number, t.tenant)})
}

// Unexpanded implements ports.Notifications.
func (s *Store) Unexpanded(ctx context.Context, before time.Time, limit int) (left []ports.TenantNotification, err error) {
	if limit <= 0 {
		return nil, nil
	}
	err = s.read(ctx, func(c *conn) error {
		left = nil
		return c.query(`SELECT t.id, n.id FROM expansions e JOIN notifications n ON n.number = e.notification
			JOIN tenants t ON t.number = e.tenant AND t.deleted IS NULL
			WHERE e.created < $1 ORDER BY e.created, e.notification LIMIT $2`, args(before.UnixMilli(), int64(limit)), func(r row) error {
			of := ports.TenantNotification{Tenant: domain.TenantID(r.Text(0))}
			copy(of.ID[:], r.Blob(1))
			left = append(left, of)
			return nil
		})
	})
	return left, err
}
