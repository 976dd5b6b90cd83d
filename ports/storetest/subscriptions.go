package storetest

import (
	"fmt"
	"strings"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var subscriptionContracts = []contract{
	{"a subscription comes back whole, also after a restart", subscriptionComesBack},
	{"the same user, topic and endpoint are one subscription", sameSubscription},
	{"another user, topic or endpoint is another subscription", otherSubscriptions},
	{"a user has at most 1,000 subscriptions, and a tenant as many with an endpoint", tooManySubscriptions},
	{"subscriptions are listed oldest first, a user's or all, in pages", subscriptionsAreListed},
	{"a removed subscription is gone, and free to be made again", removedSubscription},
	{"a subscriber is a user from then on", subscriberExists},
	{"a rolled back update leaves subscriptions as they were", rolledBackSubscriptions},
	{"tenants' subscriptions are their own", subscriptionsOfTenants},
}

func (f *fixture) newSubscription(user domain.UserID, topic string) domain.Subscription {
	return domain.Subscription{ID: domain.SubscriptionID(f.newUUID()), User: user, Topic: topic, CreatedAt: f.now()}
}

// subscribe stores a new subscription.
func (f *fixture) subscribe(user domain.UserID, topic string) domain.Subscription {
	f.t.Helper()
	return f.addSubscription(f.newSubscription(user, topic))
}

// subscribeAt stores a new one with an endpoint.
func (f *fixture) subscribeAt(user domain.UserID, topic, endpoint string) domain.Subscription {
	f.t.Helper()
	s := f.newSubscription(user, topic)
	s.Endpoint = endpoint
	return f.addSubscription(s)
}

func (f *fixture) addSubscription(s domain.Subscription) domain.Subscription {
	f.t.Helper()
	stored, existed, err := f.tryAddSubscription(s)
	if err != nil {
		f.t.Fatalf("AddSubscription: %v", err)
	}
	equal(f.t, "a subscription that is new", existed, false)
	equal(f.t, "the subscription stored", stored, s)
	return stored
}

func (f *fixture) tryAddSubscription(s domain.Subscription) (stored domain.Subscription, existed bool, err error) {
	err = f.tryUpdate(func(tx ports.Tx) (err error) {
		stored, existed, err = tx.AddSubscription(s)
		return err
	})
	return stored, existed, err
}

func (f *fixture) removeSubscription(id domain.SubscriptionID) error {
	return f.tryUpdate(func(tx ports.Tx) error { return tx.RemoveSubscription(id) })
}

func (f *fixture) subscriptions(user *domain.UserID) []domain.Subscription {
	f.t.Helper()
	return f.subscriptionsFrom(user, 0, 10*page)
}

func (f *fixture) subscriptionsFrom(user *domain.UserID, offset, limit int) (list []domain.Subscription) {
	f.t.Helper()
	f.view(func(r ports.Reader) (err error) {
		list, err = r.Subscriptions(user, offset, limit)
		return err
	})
	return list
}

// isSubscription fails the case unless a subscription is stored as it is here.
func (f *fixture) isSubscription(s domain.Subscription) {
	f.t.Helper()
	got, err := ports.View(f.t.Context(), f.db, f.tenant, func(r ports.Reader) (domain.Subscription, error) {
		return r.Subscription(s.ID)
	})
	equal(f.t, "the error of Subscription", err, nil)
	equal(f.t, "the subscription", got, s)
}

func subscriptionComesBack(f *fixture) {
	var made []domain.Subscription
	for _, s := range []domain.Subscription{
		{User: "ann", Topic: "orders"},
		{User: "ünï ✓ \"100%\"", Topic: strings.Repeat("🦊", domain.MaxTopic), Metadata: []byte(`{ "a" : [null, "ñ"] }`)},
		{Topic: "orders", Endpoint: "https://hooks.example/x?y=1&z=<2>"},
		{User: "ann", Topic: "orders", Endpoint: "https://hooks.example/x", Metadata: []byte(`{}`)},
	} {
		s.ID, s.CreatedAt = domain.SubscriptionID(f.newUUID()), f.now()
		made = append(made, f.addSubscription(s))
	}
	for range 2 {
		for _, s := range made {
			f.isSubscription(s)
		}
		equalList(f.t, "all of them", f.subscriptions(nil), made)
		err := f.db.View(f.t.Context(), f.tenant, func(r ports.Reader) error {
			_, err := r.Subscription(domain.SubscriptionID(f.newUUID()))
			return err
		})
		wantError(f.t, "Subscription of no id", err, domain.ErrNoSubscription)
		f.reopen()
	}
}

func sameSubscription(f *fixture) {
	for _, first := range []domain.Subscription{
		f.subscribe("ann", "orders"), f.subscribeAt("ann", "orders", "https://a.example"), f.subscribeAt("", "orders", "https://a.example"),
	} {
		for _, metadata := range [][]byte{[]byte(`{"n":1}`), []byte(`{"n":2}`), nil} {
			again := f.newSubscription(first.User, first.Topic)
			again.Endpoint, again.Metadata = first.Endpoint, metadata
			stored, existed, err := f.tryAddSubscription(again)
			equal(f.t, "the error of AddSubscription", err, nil)
			equal(f.t, "whether there was one", existed, true)
			first.Metadata = metadata
			equal(f.t, "the one there was", stored, first)
			f.isSubscription(first)
			err = f.removeSubscription(again.ID)
			wantError(f.t, "RemoveSubscription of the one that was not made", err, domain.ErrNoSubscription)
		}
	}
	equal(f.t, "subscriptions", len(f.subscriptions(nil)), 3)
	parallel(f.t, writers, func(int) error {
		_, _, err := f.tryAddSubscription(f.newSubscription("bob", "orders"))
		return err
	})
	equal(f.t, "those of bob", len(f.subscriptions(ptr(domain.UserID("bob")))), 1)
}

func otherSubscriptions(f *fixture) {
	want := []domain.Subscription{
		f.subscribe("ann", "orders"), f.subscribe("Ann", "orders"), f.subscribe("ann", "Orders"), f.subscribe("ann", "orders "),
		f.subscribe("ann", "*"), f.subscribe("ann", "e\u0301"), f.subscribe("ann", "\u00e9"),
		f.subscribeAt("ann", "orders", "https://a.example"), f.subscribeAt("ann", "orders", "https://a.example/"),
		f.subscribeAt("", "orders", "https://a.example"),
	}
	equalList(f.t, "all subscriptions", f.subscriptions(nil), want)
}

func tooManySubscriptions(f *fixture) {
	fill := func(user domain.UserID, endpoint string) (last domain.Subscription) {
		f.update(func(tx ports.Tx) error {
			for i := range domain.MaxSubscriptions {
				last = f.newSubscription(user, fmt.Sprint("topic ", i))
				last.Endpoint = endpoint
				if _, _, err := tx.AddSubscription(last); err != nil {
					return err
				}
			}
			return nil
		})
		return last
	}
	f.subscribe("bob", "orders")
	for _, user := range users("ann", "") {
		endpoint := ""
		if user == "" {
			endpoint = "https://a.example"
		}
		last := fill(user, endpoint)
		for range 2 {
			more := f.newSubscription(user, "one more")
			more.Endpoint = endpoint
			_, _, err := f.tryAddSubscription(more)
			wantError(f.t, "one too many", err, domain.ErrTooManyTopics)
			_, existed, err := f.tryAddSubscription(last)
			equal(f.t, "the error of one that is there", err, nil)
			equal(f.t, "whether it is there", existed, true)
			f.reopen()
		}
		equal(f.t, "RemoveSubscription", f.removeSubscription(last.ID), nil)
		f.subscribeAt(user, "one more", endpoint)
	}
	more := f.newSubscription("eve", "orders")
	more.Endpoint = "https://a.example"
	_, _, err := f.tryAddSubscription(more)
	wantError(f.t, "one endpoint too many, whosever it is", err, domain.ErrTooManyEndpoints)
	equal(f.t, "all subscriptions", len(f.subscriptionsFrom(nil, 0, 3*domain.MaxSubscriptions)), 1+2*domain.MaxSubscriptions)
}

func subscriptionsAreListed(f *fixture) {
	own := map[domain.UserID][]domain.Subscription{}
	var all []domain.Subscription
	for i := range 24 {
		user := []domain.UserID{"zoe", "ann", "bob"}[i%3]
		s := f.subscribe(user, fmt.Sprint("topic ", 100-i))
		all, own[user] = append(all, s), append(own[user], s)
	}
	all = append(all, f.subscribeAt("", "orders", "https://a.example"))
	equalList(f.t, "all", f.subscriptions(nil), all)
	equalList(f.t, "the second page of all", f.subscriptionsFrom(nil, 10, 10), all[10:20])
	equalList(f.t, "the last page of all", f.subscriptionsFrom(nil, 20, 10), all[20:])
	for user, want := range own {
		equalList(f.t, "those of "+string(user), f.subscriptions(&user), want)
		equalList(f.t, "the second page of "+string(user), f.subscriptionsFrom(&user, 3, 3), want[3:6])
		equalList(f.t, "a page behind the end", f.subscriptionsFrom(&user, 8, 3), nil)
		equalList(f.t, "a page of none", f.subscriptionsFrom(&user, 0, 0), nil)
	}
	equalList(f.t, "those of a stranger", f.subscriptions(ptr(domain.UserID("stranger"))), nil)
}

func removedSubscription(f *fixture) {
	s, kept := f.subscribe("ann", "orders"), f.subscribe("ann", "news")
	equal(f.t, "RemoveSubscription", f.removeSubscription(s.ID), nil)
	for range 2 {
		wantError(f.t, "RemoveSubscription again", f.removeSubscription(s.ID), domain.ErrNoSubscription)
		equalList(f.t, "what is left", f.subscriptions(ptr(domain.UserID("ann"))), []domain.Subscription{kept})
		f.reopen()
	}
	again := f.subscribe("ann", "orders")
	equalList(f.t, "with the one made again", f.subscriptions(nil), []domain.Subscription{kept, again})
}

func subscriberExists(f *fixture) {
	f.subscribe("new", "orders")
	_, known := f.userNow("new")
	equal(f.t, "a subscriber exists", known, true)
	f.subscribeAt("", "orders", "https://a.example")
	_, known = f.userNow("")
	equal(f.t, "the backend is a user", known, false)
}

func rolledBackSubscriptions(f *fixture) {
	s := f.subscribe("ann", "orders")
	for _, x := range failures {
		got := endingOf(func() error {
			return f.tryUpdate(func(tx ports.Tx) error {
				again := s
				again.Metadata = []byte(`{"lost":1}`)
				if _, _, err := tx.AddSubscription(again); err != nil {
					return err
				}
				if _, _, err := tx.AddSubscription(f.newSubscription("lost", "orders")); err != nil {
					return err
				}
				if err := tx.RemoveSubscription(s.ID); err != nil {
					return err
				}
				return x.fail()
			})
		})
		if err := x.check(got); err != nil {
			f.t.Errorf("Update: %v", err)
		}
		equalList(f.t, "all subscriptions", f.subscriptions(nil), []domain.Subscription{s})
		_, known := f.userNow("lost")
		equal(f.t, "a subscriber who was lost", known, false)
	}
}

func subscriptionsOfTenants(f *fixture) {
	other := f.newTenant("second")
	s := f.subscribe("ann", "orders")
	same := other.newSubscription("ann", "orders")
	same.ID = s.ID
	other.addSubscription(same)
	equalList(f.t, "the other's", other.subscriptions(nil), []domain.Subscription{same})
	equal(f.t, "RemoveSubscription", other.removeSubscription(s.ID), nil)
	f.isSubscription(s)
	n := other.addNotification(domain.Targets{Subscribers: true})
	equal(f.t, "a notification to nobody", other.expand(n.ID, page), ports.Expansion{Done: true})
}
