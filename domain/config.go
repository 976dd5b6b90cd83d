package domain

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// TenantConfig is what a tenant may set; an absent value means the server's default. It is a document: clients send
// it and the store keeps it as JSON, which is why this one domain type carries tags.
type TenantConfig struct {
	RateLimit        *int        `json:"rate_limit,omitempty"`       // requests a second; 0 = unlimited
	MaxMessageSize   *int        `json:"max_message_size,omitempty"` // bytes of content
	AllowedOrigins   []string    `json:"allowed_origins,omitempty"`  // exact origins
	AllowBrowserKeys *bool       `json:"allow_browser_keys,omitempty"`
	UserTopics       []string    `json:"user_topics,omitempty"`
	WebhookURL       *string     `json:"webhook_url,omitempty"`
	WebhookSecret    *string     `json:"webhook_secret,omitempty"`       // sealed and base64 in the store, never answered
	SecretBefore     *string     `json:"webhook_secret_old,omitempty"`   // sealed like WebhookSecret, which has taken its place; signs too until SecretUntil. Set by the server alone
	SecretUntil      *time.Time  `json:"webhook_secret_until,omitempty"` // likewise
	WebhookDisabled  *time.Time  `json:"webhook_disabled_at,omitempty"`  // the receiver answered 410; a new webhook_url ends it. Set by the server alone
	OnWebhookError   *string     `json:"on_webhook_error,omitempty"`
	RetryLimit       *int        `json:"retry_limit,omitempty"`
	ChatBotID        *string     `json:"chat_bot_id,omitempty"`
	BotLimits        *Budget     `json:"bot_limits,omitempty"`
	ChatLimits       *ChatLimits `json:"chat_limits,omitempty"`
}

// MaxMessage is the longest content of the tenant's messages, in bytes.
func (c TenantConfig) MaxMessage() int {
	if c.MaxMessageSize != nil {
		return *c.MaxMessageSize
	}
	return DefaultMaxMessage
}

// Webhook is where the tenant's backend is called: its own URL, else the operator's for all; empty when nobody is.
func (c TenantConfig) Webhook(fallback string) string {
	switch {
	case c.WebhookURL == nil:
		return fallback
	case c.WebhookDisabled != nil:
		return ""
	}
	return *c.WebhookURL
}

// SecretOverlap is how long calls are signed with a webhook secret that has been replaced, too.
const SecretOverlap = 24 * time.Hour

// RotateSecret puts a new webhook secret in the place of another, which signs on for SecretOverlap.
func (c *TenantConfig) RotateSecret(before, after *string, now time.Time) {
	c.WebhookSecret, c.SecretBefore, c.SecretUntil = after, nil, nil
	if before != nil {
		until := now.Add(SecretOverlap)
		c.SecretBefore, c.SecretUntil = before, &until
	}
}

// WebhookSecrets are those that sign now, sealed, the newest first.
func (c TenantConfig) WebhookSecrets(now time.Time) (sealed []string) {
	if c.WebhookSecret == nil {
		return nil
	}
	sealed = []string{*c.WebhookSecret}
	if c.SecretBefore != nil && c.SecretUntil != nil && now.Before(*c.SecretUntil) {
		sealed = append(sealed, *c.SecretBefore)
	}
	return sealed
}

// The limits of a config. A tenant's config is read with every one of its calls and held in memory.
const (
	MaxConfig         = 16 << 10 // bytes as JSON, the webhook secret aside
	MaxUserTopics     = 1000
	MaxTopic          = 128  // characters
	MaxWebhookURL     = 2048 // bytes
	MaxWebhookSecret  = 512  // bytes
	MaxAllowedOrigins = 100
	maxChatBotID      = 64 // bytes; ours have 40
)

// MergeConfig applies a JSON object to a config: a named key replaces, null resets, an unknown key is refused. A new
// webhook secret is in the result as it was sent; sealing it is the caller's.
func MergeConfig(c TenantConfig, patch []byte) (TenantConfig, error) {
	if len(patch) == 0 || bytes.Equal(bytes.TrimSpace(patch), []byte("null")) {
		return c, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(patch, &keys); err != nil {
		return c, Invalid("config", "config must be a JSON object")
	}
	stored, err := json.Marshal(c)
	if err != nil {
		return c, Invalid("config", "config cannot be read")
	}
	merged := map[string]json.RawMessage{}
	if err := json.Unmarshal(stored, &merged); err != nil {
		return c, Invalid("config", "config cannot be read")
	}
	for name, value := range keys {
		if !slices.Contains(configKeys, name) {
			return c, Invalid("config."+shorten(name), "unknown config key; known are %s", strings.Join(configKeys, ", "))
		}
		merged[name] = value
		if bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
			delete(merged, name)
		}
	}
	if keys["webhook_url"] != nil {
		delete(merged, "webhook_disabled_at")
	}
	if keys["webhook_secret"] != nil && merged["webhook_secret"] == nil {
		delete(merged, "webhook_secret_old")
		delete(merged, "webhook_secret_until")
	}
	result, err := decodeConfig(merged)
	if err == nil && merged["webhook_secret"] != nil && keys["webhook_secret"] != nil {
		err = checkWebhookSecret(*result.WebhookSecret)
	}
	return result, err
}

// checkWebhookSecret is for a new one: a stored one is sealed, which makes it longer.
func checkWebhookSecret(secret string) error {
	if secret == "" || len(secret) > MaxWebhookSecret {
		return Invalid("config.webhook_secret", "webhook_secret has 1 to %d bytes", MaxWebhookSecret)
	}
	return nil
}

// shorten bounds how much of a client's own name comes back in an error.
func shorten(name string) string {
	const enough = 64
	if len(name) <= enough {
		return name
	}
	return strings.ToValidUTF8(name[:enough], "") + "…"
}

var configKeys = []string{
	"rate_limit", "max_message_size", "allowed_origins", "allow_browser_keys", "user_topics", "webhook_url",
	"webhook_secret", "on_webhook_error", "retry_limit", "chat_bot_id", "bot_limits", "chat_limits",
}

func decodeConfig(keys map[string]json.RawMessage) (TenantConfig, error) {
	var c TenantConfig
	for name, value := range keys {
		one, _ := json.Marshal(map[string]json.RawMessage{name: value})
		decoder := json.NewDecoder(bytes.NewReader(one))
		decoder.DisallowUnknownFields() // of a value that has fields
		if err := decoder.Decode(&c); err != nil {
			return c, Invalid("config."+name, "%s has the wrong type", name)
		}
	}
	return c, c.check()
}

func (c TenantConfig) check() error {
	switch {
	case outside(c.RateLimit, 0, 1_000_000):
		return Invalid("config.rate_limit", "rate_limit is 0 (unlimited) to 1000000 a second")
	case outside(c.MaxMessageSize, 1, MaxMessageCeiling):
		return Invalid("config.max_message_size", "max_message_size is 1 to %d bytes", MaxMessageCeiling)
	case outside(c.RetryLimit, 1, 100):
		return Invalid("config.retry_limit", "retry_limit is 1 to 100 attempts")
	case c.OnWebhookError != nil && *c.OnWebhookError != "skip" && *c.OnWebhookError != "answer":
		return Invalid("config.on_webhook_error", "on_webhook_error is skip or answer")
	case c.WebhookURL != nil && (len(*c.WebhookURL) > MaxWebhookURL || !isHTTPURL(*c.WebhookURL)):
		return Invalid("config.webhook_url", "webhook_url is an http or https URL of at most %d bytes", MaxWebhookURL)
	case c.BotLimits.isOutside():
		return Invalid("config.bot_limits", "bot_limits has concurrent_runs up to %d, replies_per_minute up to %d and tokens_per_month, of 0 or more",
			DefaultBudget.ConcurrentRuns, maxRepliesPerMinute)
	case c.ChatBotID != nil && (*c.ChatBotID == "" || len(*c.ChatBotID) > maxChatBotID):
		return Invalid("config.chat_bot_id", "chat_bot_id is the id of a bot, 1 to %d bytes", maxChatBotID)
	case c.ChatLimits.isOutside():
		return Invalid("config.chat_limits", "chat_limits has requests_per_minute of 0 (unlimited) to 1000000, messages_per_second of 1 to %d and sockets of 1 to %d",
			maxChatMessages, MaxChatSockets)
	}
	return cmp.Or(c.checkLists(), c.checkSize())
}

func (c TenantConfig) checkLists() error {
	switch {
	case len(c.UserTopics) > MaxUserTopics || slices.ContainsFunc(c.UserTopics, isNoTopic):
		return Invalid("config.user_topics", "user_topics has at most %d topics of 1 to %d characters", MaxUserTopics, MaxTopic)
	case len(c.AllowedOrigins) > MaxAllowedOrigins:
		return Invalid("config.allowed_origins", "allowed_origins has at most %d origins", MaxAllowedOrigins)
	}
	for _, origin := range c.AllowedOrigins {
		if !IsOrigin(origin) {
			return Invalid("config.allowed_origins", "an origin is scheme://host[:port], nothing more")
		}
	}
	return nil
}

func isNoTopic(topic string) bool { return topic == "" || utf8.RuneCountInString(topic) > MaxTopic }

func (c TenantConfig) checkSize() error {
	c.WebhookSecret, c.SecretBefore = nil, nil // have their own limit, and grow when they are sealed
	document, err := json.Marshal(c)
	if err != nil || len(document) > MaxConfig {
		return Invalid("config", "config has at most %d bytes in all", MaxConfig)
	}
	return nil
}

func outside(n *int, low, high int) bool { return n != nil && (*n < low || *n > high) }

// IsOrigin reports whether s is an exact origin: scheme://host[:port], lower case, with no path.
func IsOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && isHTTPURL(s) && s == u.Scheme+"://"+strings.ToLower(u.Host)
}

func isHTTPURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}
