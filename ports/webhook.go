package ports

import "github.com/chatapi/chatapi/domain"

// OfflineEvent is what a webhook is told of a message: which members it has not reached.
type OfflineEvent struct {
	Tenant     domain.TenantID
	Room       domain.Room
	Message    domain.Message
	Recipients []domain.UserID // 1 to domain.MaxWebhookRecipients
}

// WebhookEncoder writes the bodies of webhook calls, as JSON.
type WebhookEncoder interface {
	Offline(e OfflineEvent) []byte
	Notification(e NotificationEvent) []byte
	Context(e ContextEvent) []byte
}

// NotificationEvent is what the endpoint of a subscription is told.
type NotificationEvent struct {
	Tenant       domain.TenantID
	Notification domain.Notification
	User         domain.UserID // empty: the tenant's backend itself
}

// ContextEvent is what a webhook is told when it is asked for a bot's context.
type ContextEvent struct {
	Tenant  domain.TenantID
	Bot     domain.BotID
	Room    domain.Room
	Message domain.Message
	History []Turn
}
