package domain

import (
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// BotID names a bot: bot_ and a UUID. In rooms a bot goes by it as a user does by its id.
type BotID UUID

func (id BotID) String() string { return botPrefix + UUID(id).String() }

// User is the bot as a member of rooms and as a sender.
func (id BotID) User() UserID { return UserID(id.String()) }

// ParseBotID reads bot_ and a canonical UUID; anything else names no bot.
func ParseBotID(s string) (BotID, bool) {
	u, ok := parsePrefixed(botPrefix, s)
	return BotID(u), ok
}

// Bot is the bot that goes by this id; ok is false for users and for ids that no bot has.
func (u UserID) Bot() (id BotID, ok bool) { return ParseBotID(string(u)) }

// Provider is the kind of interface that a model is called by.
type Provider string

// The providers.
const (
	ProviderOpenAI    Provider = "openai"    // POST <base>/chat/completions, OpenAI's or any that speaks like it
	ProviderAnthropic Provider = "anthropic" // POST <base>/messages
)

// Bot is a member of rooms who answers users by a model.
type Bot struct {
	ID              BotID
	Name            string
	Provider        Provider
	BaseURL         string // of the model, without a slash at the end
	Model           string
	Key             []byte // sealed for the bot and its BaseURL's origin; nil = none
	KeyEnv          string // instead of Key: the name of one that the operator holds
	WebhookURL      string // where its context is asked for; empty = at the tenant's
	SystemPrompt    string // used when nobody is asked for a context
	ContextMessages int    // of the room's history that the model is shown, the trigger included
	MaxOutputTokens int    // 0 = the provider's own limit
	Temperature     *float64
	CreatedAt       time.Time
}

// The limits of bots.
const (
	MaxBotName         = 128   // characters
	MaxModelName       = 256   // bytes
	MaxSystemPrompt    = 32768 // bytes
	MaxModelKey        = 4096  // bytes
	MaxContextMessages = 100
	DefaultContext     = 20
	MaxOutputTokens    = 100_000
	DefaultMaxOutput   = 4096 // where a provider demands a number
	MaxTemperature     = 2.0
	MaxBots            = 50 // of a tenant
	MaxBotsPerRoom     = 5
)

// Setting is a value of a change: not set it stays, set to nil it is cleared.
type Setting[T any] struct {
	Set bool
	To  *T
}

func (s Setting[T]) apply(value *T, cleared T) {
	if !s.Set {
		return
	}
	if *value = cleared; s.To != nil {
		*value = *s.To
	}
}

// BotPatch is a change of a bot, or with all that is required set, what one is made of. Key is in the clear; sealing it is
// the caller's.
type BotPatch struct {
	Name            Setting[string]
	Provider        Setting[string]
	BaseURL         Setting[string]
	Model           Setting[string]
	Key             Setting[string]
	KeyEnv          Setting[string]
	WebhookURL      Setting[string]
	SystemPrompt    Setting[string]
	ContextMessages Setting[int]
	MaxOutputTokens Setting[int]
	Temperature     Setting[float64]
}

// Apply is the bot after the change, its Key aside: newKey says whether the one in the patch takes its place. A new origin
// of BaseURL clears the stored key: nobody may send a key elsewhere by changing a URL.
func (p BotPatch) Apply(b Bot) (patched Bot, newKey bool, err error) {
	before := b
	provider := string(b.Provider)
	p.Name.apply(&b.Name, "")
	p.Provider.apply(&provider, string(ProviderOpenAI))
	p.BaseURL.apply(&b.BaseURL, "")
	p.Model.apply(&b.Model, "")
	p.KeyEnv.apply(&b.KeyEnv, "")
	p.WebhookURL.apply(&b.WebhookURL, "")
	p.SystemPrompt.apply(&b.SystemPrompt, "")
	p.ContextMessages.apply(&b.ContextMessages, DefaultContext)
	p.MaxOutputTokens.apply(&b.MaxOutputTokens, 0)
	if p.Temperature.Set {
		b.Temperature = p.Temperature.To
	}
	b.Provider, b.BaseURL = Provider(provider), strings.TrimRight(b.BaseURL, "/")
	if Origin(b.BaseURL) != Origin(before.BaseURL) || p.Key.Set || p.KeyEnv.Set && p.KeyEnv.To != nil {
		b.Key = nil
	}
	newKey = p.Key.Set && p.Key.To != nil && *p.Key.To != ""
	if newKey && !p.KeyEnv.Set {
		b.KeyEnv = ""
	}
	return b, newKey, p.check(b)
}

// check validates a bot as a patch has made it. Whether its URLs may be called is not judged here.
func (p BotPatch) check(b Bot) error {
	switch {
	case b.Name == "" || utf8.RuneCountInString(b.Name) > MaxBotName:
		return Invalid("name", "name is required: 1 to %d characters", MaxBotName)
	case b.Provider != ProviderOpenAI && b.Provider != ProviderAnthropic:
		return Invalid("provider", "provider is openai or anthropic")
	case b.BaseURL == "":
		return Invalid("llm_base_url", "llm_base_url is required")
	case !isHTTPURL(b.BaseURL) || len(b.BaseURL) > MaxWebhookURL || strings.ContainsAny(b.BaseURL, "?#"):
		return Invalid("llm_base_url", "llm_base_url is an http or https URL without query, of at most %d bytes", MaxWebhookURL)
	case b.Model == "" || len(b.Model) > MaxModelName:
		return Invalid("model", "model is required: 1 to %d bytes", MaxModelName)
	case p.Key.To != nil && (len(*p.Key.To) > MaxModelKey || !IsVisibleASCII(*p.Key.To)):
		return Invalid("llm_api_key", "llm_api_key has at most %d visible ASCII characters", MaxModelKey)
	case p.Key.To != nil && *p.Key.To != "" && b.KeyEnv != "":
		return Invalid("llm_api_key_env", "a bot has llm_api_key or llm_api_key_env, not both")
	case len(b.SystemPrompt) > MaxSystemPrompt:
		return Invalid("system_prompt", "system_prompt has at most %d bytes", MaxSystemPrompt)
	case b.ContextMessages < 1 || b.ContextMessages > MaxContextMessages:
		return Invalid("context_messages", "context_messages is 1 to %d", MaxContextMessages)
	case b.MaxOutputTokens < 0 || p.MaxOutputTokens.To != nil && *p.MaxOutputTokens.To == 0 || b.MaxOutputTokens > MaxOutputTokens:
		return Invalid("max_output_tokens", "max_output_tokens is 1 to %d", MaxOutputTokens)
	case b.Temperature != nil && (*b.Temperature < 0 || *b.Temperature > MaxTemperature):
		return Invalid("temperature", "temperature is 0 to %g", MaxTemperature)
	}
	return nil
}

// Origin is scheme, host and port of a URL, in lower case; empty for what is none.
func Origin(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// OriginKeys are the keys that the operator holds for bots: the origin that each may be sent to, by name.
type OriginKeys map[string]string

// Check refuses a bot that names a key of the operator's which does not exist, or which is not for its model's origin.
func (k OriginKeys) Check(b Bot) error {
	if b.KeyEnv == "" {
		return nil
	}
	origin, ok := k[b.KeyEnv]
	if !ok {
		return Invalid("llm_api_key_env", "the server offers no key of this name")
	}
	if origin != Origin(b.BaseURL) {
		return Invalid("llm_api_key_env", "this key may not be sent to llm_base_url")
	}
	return nil
}
