package domain

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTheOperatorsWebhookIsEverybodysWhoHasNone, and a tenant whose own receiver is gone does not come back to it.
func TestTheOperatorsWebhookIsEverybodysWhoHasNone(t *testing.T) {
	t.Parallel()
	own, gone := "https://example.com/own", time.Now()
	for _, c := range []struct {
		config TenantConfig
		want   string
	}{
		{TenantConfig{}, "https://example.com/all"},
		{TenantConfig{WebhookURL: &own}, own},
		{TenantConfig{WebhookURL: &own, WebhookDisabled: &gone}, ""},
	} {
		if got := c.config.Webhook("https://example.com/all"); got != c.want {
			t.Errorf("called at %q, want %q", got, c.want)
		}
	}
}

func TestANotificationHasATopicAPayloadAndTargets(t *testing.T) {
	t.Parallel()
	room := RoomID{1}
	good := NotificationDraft{Topic: "orders/4711", Payload: []byte(`{"a":1}`), Users: []string{"ann", "bob", "ann"}, Room: room.String()}
	targets, err := good.Check()
	if err != nil || !slices.Equal(targets.Users, []UserID{"ann", "bob"}) || targets.Room != room || targets.Subscribers {
		t.Errorf("targets %+v, %v", targets, err)
	}
	many := make([]string, MaxTargetUsers+1)
	for i := range many {
		many[i] = "ann"
	}
	for _, c := range []struct {
		field  string
		change func(*NotificationDraft)
	}{
		{"topic", func(d *NotificationDraft) { d.Topic = "" }},
		{"topic", func(d *NotificationDraft) { d.Topic = strings.Repeat("ü", MaxTopic+1) }},
		{"topic", func(d *NotificationDraft) { d.Topic = "a\nb" }},
		{"payload", func(d *NotificationDraft) { d.Payload = nil }},
		{"payload", func(d *NotificationDraft) { d.Payload = []byte(`[]`) }},
		{"payload", func(d *NotificationDraft) { d.Payload = []byte(`{"a":"` + strings.Repeat("x", MaxObject) + `"}`) }},
		{"targets", func(d *NotificationDraft) { d.Users, d.Room = nil, "" }},
		{"targets.user_ids", func(d *NotificationDraft) { d.Users = many }},
		{"targets.user_ids", func(d *NotificationDraft) { d.Users = []string{"bot_1"} }},
		{"targets.user_ids", func(d *NotificationDraft) { d.Users = []string{""} }},
	} {
		draft := good
		c.change(&draft)
		var invalid *Error
		if _, err := draft.Check(); !errors.As(err, &invalid) || invalid.Code != CodeValidation || invalid.Field != c.field {
			t.Errorf("%v, want a fault of %s", err, c.field)
		}
	}
	good.Room = "lobby"
	if _, err := good.Check(); !errors.Is(err, ErrRoomNotFound) {
		t.Errorf("a room that cannot be: %v", err)
	}
}

func TestWhoMaySubscribeWhomToWhat(t *testing.T) {
	t.Parallel()
	config := TenantConfig{UserTopics: []string{"open"}}
	backend, keyed, user := Actor{Kind: ActorBackend}, Actor{Kind: ActorBackendUser, User: "ann"}, Actor{Kind: ActorUser, User: "ann"}
	const url = "https://example.com/a"
	for _, c := range []struct {
		actor Actor
		draft SubscriptionDraft
		user  UserID
		want  error
	}{
		{user, SubscriptionDraft{Topic: "open"}, "ann", nil},
		{user, SubscriptionDraft{Topic: "open", User: "ann"}, "ann", nil},
		{user, SubscriptionDraft{Topic: "closed"}, "", ErrForbidden},
		{user, SubscriptionDraft{Topic: "open", User: "bob"}, "", ErrForbidden},
		{user, SubscriptionDraft{Topic: "open", Endpoint: url}, "", ErrForbidden},
		{keyed, SubscriptionDraft{Topic: "closed"}, "ann", nil},
		{keyed, SubscriptionDraft{Topic: "closed", Endpoint: url}, "", ErrForbidden},
		{keyed, SubscriptionDraft{Topic: "closed", User: "bob"}, "", ErrForbidden},
		{backend, SubscriptionDraft{Topic: "closed", User: "bob"}, "bob", nil},
		{backend, SubscriptionDraft{Topic: "closed", User: "bob", Endpoint: url}, "bob", nil},
		{backend, SubscriptionDraft{Topic: "closed", Endpoint: url}, "", nil},
		{backend, SubscriptionDraft{Topic: "closed"}, "", Invalid("endpoint", "")},
		{backend, SubscriptionDraft{Topic: "closed", User: "system"}, "", Invalid("user_id", "")},
		{backend, SubscriptionDraft{User: "bob"}, "", Invalid("topic", "")},
	} {
		got, err := NewSubscription(c.actor, config, c.draft, SubscriptionID{1}, time.Time{})
		if !errors.Is(err, c.want) || err == nil && (got.User != c.user || got.Topic != c.draft.Topic || got.Endpoint != c.draft.Endpoint) {
			t.Errorf("%+v by %d: %+v, %v; want %q, %v", c.draft, c.actor.Kind, got, err, c.user, c.want)
		}
	}
}
