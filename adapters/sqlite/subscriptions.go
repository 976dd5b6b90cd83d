package sqlite

import (
	"database/sql/driver"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

const subscriptionsWhere = "SELECT " + sqlrows.SubscriptionColumns + " FROM subscriptions s LEFT JOIN users u ON u.number = s.user WHERE s.tenant = ?"

// Subscription implements ports.SubscriptionReader.
func (r *reader) Subscription(id domain.SubscriptionID) (domain.Subscription, error) {
	if err := r.source.ready(); err != nil {
		return domain.Subscription{}, err
	}
	s, found, err := r.subscriptionBy(" AND s.id = ?", id[:])
	if err == nil && !found {
		err = domain.ErrNoSubscription
	}
	return s, err
}

func (r *reader) subscriptionBy(where string, values ...driver.Value) (s domain.Subscription, found bool, err error) {
	found, err = r.conn.first(subscriptionsWhere+where, append(args(r.tenant), values...), func(row row) { s = sqlrows.ScanSubscription(row) })
	return s, found, err
}

// Subscriptions implements ports.SubscriptionReader.
func (r *reader) Subscriptions(user *domain.UserID, offset, limit int) (list []domain.Subscription, err error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	query, values := subscriptionsWhere, args(r.tenant)
	if user != nil {
		number, err := r.subscriber(*user)
		if err != nil {
			return nil, err
		}
		query, values = query+" AND s.user = ?", append(values, number)
	}
	err = r.conn.query(query+" ORDER BY s.number LIMIT 0 + ? OFFSET ?", append(values, int64(limit), int64(max(offset, 0))),
		func(row row) error {
			list = append(list, sqlrows.ScanSubscription(row))
			return nil
		})
	return list, err
}

// The numbers of subscribers who are no users.
const (
	backend = 0
	nobody  = -1
)

// subscriber is a user's number as subscriptions have it.
func (r *reader) subscriber(id domain.UserID) (int64, error) {
	if id == "" {
		return backend, nil
	}
	number, err := r.source.user(id)
	if err == nil && number == 0 {
		number = nobody
	}
	return number, err
}

// lastSubscription is the number of the newest, whosever it is.
func (r *reader) lastSubscription() (number int64, err error) {
	_, err = r.conn.first("SELECT max(number) FROM subscriptions", nil, func(row row) { number = row.Int(0) })
	return number, err
}

// AddSubscription implements ports.SubscriptionWriter.
func (t *tx) AddSubscription(s domain.Subscription) (stored domain.Subscription, existed bool, err error) {
	if err := t.ready(); err != nil {
		return domain.Subscription{}, false, err
	}
	user, err := t.subscriber(s.User)
	if err != nil {
		return domain.Subscription{}, false, err
	}
	stored, existed, err = t.subscriptionBy(" AND s.user = ? AND s.topic = ? AND s.endpoint = ?", user, s.Topic, s.Endpoint)
	if err != nil {
		return domain.Subscription{}, false, err
	}
	if existed {
		stored.Metadata = s.Metadata
		return stored, true, t.put("UPDATE subscriptions SET metadata = ? WHERE tenant = ? AND id = ?",
			sqlrows.BlobOrNull(s.Metadata), t.tenant, stored.ID[:])
	}
	return s, false, t.insertSubscription(s, user)
}

const countEndpoints = "SELECT count(*) FROM subscriptions INDEXED BY subscriptions_endpoints WHERE tenant = ? AND endpoint <> ''"

func (t *tx) insertSubscription(s domain.Subscription, user int64) (err error) {
	var have int64
	_, err = t.conn.first("SELECT count(*) FROM subscriptions WHERE tenant = ? AND user = ?", args(t.tenant, user),
		func(r row) { have = r.Int(0) })
	if err != nil {
		return err
	}
	if have >= domain.MaxSubscriptions {
		return domain.ErrTooManyTopics
	}
	if s.Endpoint != "" {
		if _, err := t.conn.first(countEndpoints, args(t.tenant), func(r row) { have = r.Int(0) }); err != nil {
			return err
		}
		if have >= domain.MaxEndpoints {
			return domain.ErrTooManyEndpoints
		}
	}
	if user == nobody {
		if user, err = t.ensureUser(s.User); err != nil {
			return err
		}
	}
	return t.put(`INSERT INTO subscriptions (tenant, id, user, topic, endpoint, created, metadata) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		t.tenant, s.ID[:], user, s.Topic, s.Endpoint, s.CreatedAt.UnixMilli(), sqlrows.BlobOrNull(s.Metadata))
}

// RemoveSubscription implements ports.SubscriptionWriter.
func (t *tx) RemoveSubscription(id domain.SubscriptionID) error {
	if err := t.ready(); err != nil {
		return err
	}
	n, err := t.remove("DELETE FROM subscriptions WHERE tenant = ? AND id = ?", t.tenant, id[:])
	if err == nil && n == 0 {
		err = domain.ErrNoSubscription
	}
	return err
}
