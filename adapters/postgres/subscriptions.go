package postgres

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

const (
	subscriptionsWhere = "SELECT " + sqlrows.SubscriptionColumns + " FROM subscriptions s LEFT JOIN users u ON u.number = s.user_no WHERE s.tenant = $1"
	// sameSubscription is found by the hash that keeps its index narrow.
	sameSubscription = " AND s.user_no = $2 AND s.topic = $3 AND s.endpoint = $4 AND chatapi_digest(s.endpoint) = chatapi_digest($4)"
)

// Subscription implements ports.SubscriptionReader.
func (r *reader) Subscription(id domain.SubscriptionID) (domain.Subscription, error) {
	if err := r.source.ready(); err != nil {
		return domain.Subscription{}, err
	}
	s, found, err := r.subscriptionBy(" AND s.id = $2", id[:])
	if err == nil && !found {
		err = domain.ErrNoSubscription
	}
	return s, err
}

func (r *reader) subscriptionBy(where string, values ...any) (s domain.Subscription, found bool, err error) {
	found, err = r.conn.first(subscriptionsWhere+where, append(args(r.tenant), values...), func(row row) { s = sqlrows.ScanSubscription(row) })
	return s, found, err
}

// Subscriptions implements ports.SubscriptionReader.
func (r *reader) Subscriptions(user *domain.UserID, offset, limit int) (list []domain.Subscription, err error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	query, values := subscriptionsWhere, args(r.tenant, int64(limit), int64(max(offset, 0)))
	if user != nil {
		number, err := r.subscriber(*user)
		if err != nil {
			return nil, err
		}
		query, values = query+" AND s.user_no = $4", append(values, number)
	}
	err = r.conn.query(query+" ORDER BY s.number LIMIT $2 OFFSET $3", values, func(row row) error {
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

// lastSubscription is the number of a topic's newest. One with a lower number that is committed later was made while the
// notification was: it may be a target or not.
func (r *reader) lastSubscription(topic string) (number int64, err error) {
	_, err = r.conn.first("SELECT number FROM subscriptions WHERE tenant = $1 AND topic = $2 ORDER BY tenant DESC, topic DESC, number DESC LIMIT 1",
		args(r.tenant, topic), func(row row) { number = row.Int(0) })
	return number, err
}

// AddSubscription implements ports.SubscriptionWriter.
func (t *tx) AddSubscription(s domain.Subscription) (stored domain.Subscription, existed bool, err error) {
	if err := t.ready(); err != nil {
		return domain.Subscription{}, false, err
	}
	user, err := t.lockSubscriber(s)
	if err != nil {
		return domain.Subscription{}, false, err
	}
	stored, existed, err = t.subscriptionBy(sameSubscription, user, s.Topic, s.Endpoint)
	if err != nil {
		return domain.Subscription{}, false, err
	}
	if existed {
		stored.Metadata = s.Metadata
		return stored, true, t.put("UPDATE subscriptions SET metadata = $1 WHERE tenant = $2 AND id = $3",
			sqlrows.BlobOrNull(s.Metadata), t.tenant, stored.ID[:])
	}
	return s, false, t.insertSubscription(s, user)
}

// lockEndpoints has one unit of work at a time add a subscription of the tenant's backend, or one with an endpoint.
const lockEndpoints = "SELECT pg_advisory_xact_lock(hashtextextended('chatapi endpoints', $1))"

// lockSubscriber finds the user, who exists from then on, and has nobody else add what is counted with the subscription
// until the commit.
func (t *tx) lockSubscriber(s domain.Subscription) (user int64, err error) {
	if s.User != "" {
		if user, err = t.ensureUser(s.User); err != nil {
			return 0, err
		}
		err = t.put("SELECT 1 FROM users WHERE number = $1 AND tenant = $2 FOR NO KEY UPDATE", user, t.tenant)
	}
	if err == nil && (s.User == "" || s.Endpoint != "") {
		err = t.put(lockEndpoints, t.tenant)
	}
	return user, err
}

func (t *tx) insertSubscription(s domain.Subscription, user int64) error {
	var have, endpoints int64
	err := t.conn.together(
		step{query: "SELECT count(*) FROM subscriptions WHERE tenant = $1 AND user_no = $2", args: args(t.tenant, user),
			each: func(r row) error { have = r.Int(0); return nil }},
		step{query: "SELECT count(*) FROM subscriptions WHERE tenant = $1 AND endpoint <> ''", args: args(t.tenant),
			each: func(r row) error { endpoints = r.Int(0); return nil }})
	switch {
	case err != nil:
		return err
	case have >= domain.MaxSubscriptions:
		return domain.ErrTooManyTopics
	case s.Endpoint != "" && endpoints >= domain.MaxEndpoints:
		return domain.ErrTooManyEndpoints
	}
	return t.put(`INSERT INTO subscriptions (tenant, id, user_no, topic, endpoint, created, metadata) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		t.tenant, s.ID[:], user, s.Topic, s.Endpoint, s.CreatedAt.UnixMilli(), sqlrows.BlobOrNull(s.Metadata))
}

// RemoveSubscription implements ports.SubscriptionWriter.
func (t *tx) RemoveSubscription(id domain.SubscriptionID) error {
	if err := t.ready(); err != nil {
		return err
	}
	n, err := t.remove("DELETE FROM subscriptions WHERE tenant = $1 AND id = $2", t.tenant, id[:])
	if err == nil && n == 0 {
		err = domain.ErrNoSubscription
	}
	return err
}
