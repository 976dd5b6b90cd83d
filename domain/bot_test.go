package domain_test

import (
	"errors"
	"testing"

	"github.com/chatapi/chatapi/domain"
)

func set[T any](v T) domain.Setting[T] { return domain.Setting[T]{Set: true, To: &v} }

var botDraft = domain.BotPatch{
	Name: set("Ada"), BaseURL: set("https://models.example.com/v1/"), Model: set("small"), Key: set("sk-1"),
}

func newBot(t *testing.T) domain.Bot {
	t.Helper()
	bot, newKey, err := botDraft.Apply(domain.Bot{ContextMessages: domain.DefaultContext, Provider: domain.ProviderOpenAI})
	if err != nil || !newKey || bot.BaseURL != "https://models.example.com/v1" {
		t.Fatalf("made %+v, %v, %v", bot, newKey, err)
	}
	bot.Key = []byte("sealed")
	return bot
}

// TestAKeyDoesNotFollowItsBotElsewhere: whoever may change the URL would else have it sent to themselves.
func TestAKeyDoesNotFollowItsBotElsewhere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		patch domain.BotPatch
		keeps bool
	}{
		{"another path", domain.BotPatch{BaseURL: set("https://models.example.com/v2")}, true},
		{"the same in capitals", domain.BotPatch{BaseURL: set("https://MODELS.example.com/v1")}, true},
		{"another model", domain.BotPatch{Model: set("large")}, true},
		{"another host", domain.BotPatch{BaseURL: set("https://evil.example.com/v1")}, false},
		{"another port", domain.BotPatch{BaseURL: set("https://models.example.com:444/v1")}, false},
		{"plain http", domain.BotPatch{BaseURL: set("http://models.example.com/v1")}, false},
		{"no key", domain.BotPatch{Key: domain.Setting[string]{Set: true}}, false},
		{"the operator's key", domain.BotPatch{KeyEnv: set("KEY")}, false},
	} {
		bot, newKey, err := c.patch.Apply(newBot(t))
		if err != nil || newKey || (bot.Key != nil) != c.keeps {
			t.Errorf("%s: key %q, %v, %v", c.name, bot.Key, newKey, err)
		}
	}
}

func TestABotIsValid(t *testing.T) {
	t.Parallel()
	for field, patch := range map[string]domain.BotPatch{
		"name":              {Name: set("")},
		"provider":          {Provider: set("oracle")},
		"llm_base_url":      {BaseURL: set("https://a.example.com/v1?key=1")},
		"model":             {Model: set("")},
		"llm_api_key":       {Key: set("a b")},
		"llm_api_key_env":   {Key: set("sk-2"), KeyEnv: set("KEY")},
		"context_messages":  {ContextMessages: set(101)},
		"max_output_tokens": {MaxOutputTokens: set(-1)},
		"temperature":       {Temperature: set(2.1)},
	} {
		var invalid *domain.Error
		if _, _, err := patch.Apply(newBot(t)); !errors.As(err, &invalid) || invalid.Field != field {
			t.Errorf("%v, want a fault of %s", err, field)
		}
	}
}

// TestAnOperatorsKeyIsForOneOrigin, whatever bot names it.
func TestAnOperatorsKeyIsForOneOrigin(t *testing.T) {
	t.Parallel()
	keys := domain.OriginKeys{"KEY": "https://models.example.com"}
	for _, c := range []struct {
		env, url string
		ok       bool
	}{
		{"", "https://anywhere.example.com", true},
		{"KEY", "https://models.example.com/v1", true},
		{"KEY", "https://models.example.com.evil.com/v1", false},
		{"KEY", "https://models.example.com:8443/v1", false},
		{"KEY", "http://models.example.com/v1", false},
		{"PATH", "https://models.example.com/v1", false},
	} {
		if err := keys.Check(domain.Bot{KeyEnv: c.env, BaseURL: c.url}); (err == nil) != c.ok {
			t.Errorf("%s at %s: %v", c.env, c.url, err)
		}
	}
}
