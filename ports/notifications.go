package ports

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// NotificationReader reads notifications and what users have not acknowledged of them.
type NotificationReader interface {
	// Notification returns one; domain.ErrNoNotification. Its Payload is nil when nobody waits for it any more: all its
	// recipients have acknowledged it, its calls are made, and no dead letter holds it.
	Notification(id domain.NotificationID) (domain.Notification, error)
	// KnownNotifications returns those of the given that exist, without reading them.
	KnownNotifications(ids []domain.NotificationID) ([]domain.NotificationID, error)
	// Notices returns a user's unacknowledged ones with Place > after, in order of Place, at most limit.
	Notices(user domain.UserID, after int64, limit int) ([]domain.Notice, error)
	// LastNotice returns the highest Place of the tenant, 0 when there never was a notice. It is at least that of every notice
	// that is visible, and no lower one becomes visible after it has been read.
	LastNotice() (int64, error)
}

// NotificationWriter makes notifications and keeps who has them.
type NotificationWriter interface {
	// AddNotification stores a notification and whom it is for. Nobody has it before Expand.
	AddNotification(n domain.Notification, targets domain.Targets) error
	// Expand goes on with a notification's targets by up to limit of them: each user among them who has not got it yet
	// becomes a recipient, subscriptions with an endpoint are handed to the caller, who enqueues their jobs in the same
	// transaction. Users named are users from then on; active members who are bots are passed over. The targets are dealt
	// with in the store's own order, each once, by as many calls as it takes; a room that is gone by now has no members. All
	// recipients of one call share the tenant's next Place, and are told of by one event (domain.EventNotification, with
	// Notice and Users) when there are any. A notification that is done, or of no tenant's, is Done with nothing.
	Expand(id domain.NotificationID, limit int) (Expansion, error)
	// AddRecipient makes a user a recipient of a notification anew, with the next Place and an event of its own; one who has
	// it unacknowledged is left as is. domain.ErrNoNotification, also when its payload is gone.
	AddRecipient(id domain.NotificationID, user domain.UserID) error
	// SettleNotice ends a user's waiting for an acknowledgement; waiting is false when there was nothing to be ended.
	// domain.ErrNoNotification when the tenant has no such notification.
	SettleNotice(user domain.UserID, id domain.NotificationID) (waiting bool, err error)
}

// Expansion is what one Expand has done.
type Expansion struct {
	Recipients int                   // users who have become recipients
	Endpoints  []domain.Subscription // subscribers with an endpoint
	Total      int                   // recipients and endpoints of all calls together
	Done       bool                  // nothing is left
}

// Notifications finds, across tenants, what a process has left behind that ended in the middle.
type Notifications interface {
	// Unexpanded returns notifications made before a time, oldest first, whose Expand is not done.
	Unexpanded(ctx context.Context, before time.Time, limit int) ([]TenantNotification, error)
}

// TenantNotification is a notification of a tenant's.
type TenantNotification struct {
	Tenant domain.TenantID
	ID     domain.NotificationID
}

// SubscriptionReader reads subscriptions.
type SubscriptionReader interface {
	// Subscription returns one; domain.ErrNoSubscription.
	Subscription(id domain.SubscriptionID) (domain.Subscription, error)
	// Subscriptions lists a user's, or with user nil all of the tenant's, oldest first.
	Subscriptions(user *domain.UserID, offset, limit int) ([]domain.Subscription, error)
}

// SubscriptionWriter keeps subscriptions.
type SubscriptionWriter interface {
	// AddSubscription stores one. When there is one of the same user, topic and endpoint, that one comes back with existed
	// true, its Metadata replaced. A user's 1001st (domain.MaxSubscriptions) is domain.ErrTooManyTopics, a tenant's 1001st
	// with an endpoint (domain.MaxEndpoints) domain.ErrTooManyEndpoints. Its user exists from
	// then on.
	AddSubscription(s domain.Subscription) (stored domain.Subscription, existed bool, err error)
	// RemoveSubscription ends one; domain.ErrNoSubscription. Its jobs find that out.
	RemoveSubscription(id domain.SubscriptionID) error
}

// UserDevice is a device of a user's.
type UserDevice struct {
	User   domain.UserID
	Device domain.DeviceID
}

// MaxMarks is how many marks one call of Marks returns.
const MaxMarks = 500

// MarkReader reads how far devices have followed a room.
type MarkReader interface {
	// Marks returns the place of each of at most MaxMarks devices in a room, as Places would: their own mark, or where they
	// start. ok is false for users who are not active members. A room that does not exist is domain.ErrRoomNotFound.
	Marks(room domain.RoomID, devices []UserDevice) ([]DeviceMark, error)
}

// DeviceMark is what Marks tells of one device.
type DeviceMark struct {
	Mark domain.Mark
	OK   bool
}
