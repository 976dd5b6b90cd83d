package domain

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// NotificationID names a notification: notif_ and a UUID.
type NotificationID UUID

// SubscriptionID names a subscription: sub_ and a UUID.
type SubscriptionID UUID

const (
	prefixNotification = "notif_"
	prefixSubscription = "sub_"
)

func (id NotificationID) String() string { return prefixNotification + UUID(id).String() }
func (id SubscriptionID) String() string { return prefixSubscription + UUID(id).String() }

// IsZero reports whether the id is unset.
func (id NotificationID) IsZero() bool { return id == NotificationID{} }

// ParseNotificationID reads notif_ and a canonical UUID; anything else names no notification.
func ParseNotificationID(s string) (NotificationID, bool) {
	u, ok := parsePrefixed(prefixNotification, s)
	return NotificationID(u), ok
}

// ParseSubscriptionID reads sub_ and a canonical UUID; anything else names no subscription.
func ParseSubscriptionID(s string) (SubscriptionID, bool) {
	u, ok := parsePrefixed(prefixSubscription, s)
	return SubscriptionID(u), ok
}

// Notification is what a tenant's backend has to say to users beside the rooms.
type Notification struct {
	ID        NotificationID
	Topic     string
	Payload   []byte // a JSON object
	CreatedAt time.Time
}

// Notice is a notification as one of its recipients has it, until it is acknowledged.
type Notice struct {
	Notification
	Place int64 // in the order of the tenant's notices: a recipient's have different ones, and later ones higher
}

// Targets are those a notification is for: the union of all of them.
type Targets struct {
	Users       []UserID
	Room        RoomID // its members when the notification is made; zero = no room
	Subscribers bool   // who has subscribed to its topic
}

// The limits of notifications.
const (
	MaxTargetUsers     = 1000
	NotificationMemory = 30 * 24 * time.Hour // how long it is held for a recipient who does not come
)

// NotificationDraft is a notification as a client asks for it.
type NotificationDraft struct {
	Topic       string
	Payload     []byte
	Users       []string
	Room        string
	Subscribers bool
}

// Check validates a draft. A room id that no room can have is domain.ErrRoomNotFound, like one of no room.
func (d NotificationDraft) Check() (Targets, error) {
	targets := Targets{Subscribers: d.Subscribers}
	if err := CheckTopic("topic", d.Topic); err != nil {
		return targets, err
	}
	if len(d.Payload) == 0 {
		return targets, Invalid("payload", "payload is required: a JSON object")
	}
	if err := CheckObject("payload", d.Payload); err != nil {
		return targets, err
	}
	if len(d.Users) == 0 && d.Room == "" && !d.Subscribers {
		return targets, Invalid("targets", "targets names at least one of user_ids, room_id, topic_subscribers")
	}
	if len(d.Users) > MaxTargetUsers {
		return targets, Invalid("targets.user_ids", "user_ids has at most %d ids", MaxTargetUsers)
	}
	named := make(map[UserID]struct{}, len(d.Users))
	for _, id := range d.Users {
		user, err := CheckUserID("targets.user_ids", id)
		if err != nil {
			return targets, err
		}
		if _, again := named[user]; !again {
			named[user] = struct{}{}
			targets.Users = append(targets.Users, user)
		}
	}
	if d.Room != "" {
		id, ok := ParseRoomID(d.Room)
		if !ok {
			return targets, ErrRoomNotFound
		}
		targets.Room = id
	}
	return targets, nil
}

// CheckTopic accepts 1 to 128 printable characters, taken literally: there are no wildcards.
func CheckTopic(field, topic string) error {
	switch {
	case topic == "":
		return Invalid(field, "a topic is required")
	case !utf8.ValidString(topic) || utf8.RuneCountInString(topic) > MaxTopic:
		return Invalid(field, "a topic has at most %d characters", MaxTopic)
	case strings.ContainsFunc(topic, func(r rune) bool { return !unicode.IsPrint(r) }):
		return Invalid(field, "a topic has printable characters only")
	}
	return nil
}

// Subscription makes its user, or the backend of its tenant, a recipient of notifications to a topic's subscribers.
type Subscription struct {
	ID        SubscriptionID
	User      UserID // empty: the tenant's backend, which has an endpoint
	Topic     string
	Endpoint  string // where the notification is sent instead of to the user's sockets; empty = to those
	Metadata  []byte // a JSON object, or nil
	CreatedAt time.Time
}

// The limits of subscriptions.
const (
	MaxSubscriptions = 1000 // of a user, and of the tenant's backend for itself
	MaxEndpoints     = 1000 // of a tenant: subscriptions with an endpoint, each of which is a call for every notification
)

// SubscriptionDraft is a subscription as a client asks for it.
type SubscriptionDraft struct {
	Topic    string
	User     string // for whom, when the backend subscribes
	Endpoint string
	Metadata []byte
}

// NewSubscription is the rule of subscribing: users subscribe themselves, to the topics that their tenant has opened to
// tokens, or to any through the backend; endpoints are the backend's alone. Whether the endpoint may be called is not
// judged here.
func NewSubscription(a Actor, config TenantConfig, draft SubscriptionDraft, id SubscriptionID, now time.Time) (Subscription, error) {
	s := Subscription{ID: id, User: a.User, Topic: draft.Topic, Endpoint: draft.Endpoint, Metadata: draft.Metadata, CreatedAt: now}
	if err := CheckTopic("topic", draft.Topic); err != nil {
		return s, err
	}
	if err := CheckObject("metadata", draft.Metadata); err != nil {
		return s, err
	}
	if a.Kind != ActorBackend {
		if draft.Endpoint != "" || draft.User != "" && UserID(draft.User) != a.User {
			return s, ErrForbidden
		}
		if a.Kind == ActorUser && !slices.Contains(config.UserTopics, draft.Topic) {
			return s, ErrForbidden
		}
		return s, nil
	}
	if draft.User == "" && draft.Endpoint == "" {
		return s, Invalid("endpoint", "endpoint is required, or user_id, or the X-User-Id header: else there is nobody to be told")
	}
	if draft.User == "" {
		return s, nil
	}
	user, err := CheckUserID("user_id", draft.User)
	s.User = user
	return s, err
}
