package domain

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// TenantConfig is what a tenant may set; an absent value means the server's default. It is a document: clients send
// it and the store keeps it as JSON, which is why this one domain type carries tags.
type TenantConfig struct {
	RateLimit        *int            `json:"rate_limit,omitempty"`       // requests a second; 0 = unlimited
	MaxMessageSize   *int            `json:"max_message_size,omitempty"` // bytes of content
	AllowedOrigins   []string        `json:"allowed_origins,omitempty"`  // exact origins
	AllowBrowserKeys *bool           `json:"allow_browser_keys,omitempty"`
	UserTopics       []string        `json:"user_topics,omitempty"`
	WebhookURL       *string         `json:"webhook_url,omitempty"`
	WebhookSecret    *string         `json:"webhook_secret,omitempty"` // sealed and base64 in the store, never answered
	OnWebhookError   *string         `json:"on_webhook_error,omitempty"`
	RetryLimit       *int            `json:"retry_limit,omitempty"`
	ChatBotID        *string         `json:"chat_bot_id,omitempty"`
	ChatLimits       json.RawMessage `json:"chat_limits,omitempty"`
}

// MaxMessage is the longest content of the tenant's messages, in bytes.
func (c TenantConfig) MaxMessage() int {
	if c.MaxMessageSize != nil {
		return *c.MaxMessageSize
	}
	return DefaultMaxMessage
}

// MergeConfig applies a JSON object to a config: a named key replaces, null resets, an unknown key is refused.
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
			return c, Invalid("config."+name, "unknown config key; known are %s", strings.Join(configKeys, ", "))
		}
		merged[name] = value
		if bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
			delete(merged, name)
		}
	}
	return decodeConfig(merged)
}

var configKeys = []string{
	"rate_limit", "max_message_size", "allowed_origins", "allow_browser_keys", "user_topics", "webhook_url",
	"webhook_secret", "on_webhook_error", "retry_limit", "chat_bot_id", "chat_limits",
}

func decodeConfig(keys map[string]json.RawMessage) (TenantConfig, error) {
	var c TenantConfig
	for name, value := range keys {
		one, _ := json.Marshal(map[string]json.RawMessage{name: value})
		if err := json.Unmarshal(one, &c); err != nil {
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
	case c.WebhookURL != nil && !isHTTPURL(*c.WebhookURL):
		return Invalid("config.webhook_url", "webhook_url is an http or https URL")
	case len(c.UserTopics) > 1000:
		return Invalid("config.user_topics", "user_topics has at most 1000 topics")
	}
	for _, origin := range c.AllowedOrigins {
		if !IsOrigin(origin) {
			return Invalid("config.allowed_origins", "an origin is scheme://host[:port], nothing more")
		}
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
