package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func TestABotIsShownWithoutItsKey(t *testing.T) {
	t.Parallel()
	warm := 0.5
	full := domain.Bot{
		ID: domain.BotID(uuid(6)), Name: "Support", Provider: domain.ProviderAnthropic, BaseURL: "https://llm.example.com/v1", Model: "m",
		Key: []byte("a sealed canary"), KeyEnv: "A_KEY", WebhookURL: "https://example.com/context", SystemPrompt: "Be <brief>.", ContextMessages: 50,
		MaxOutputTokens: 100, Temperature: &warm, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
	}
	bare := domain.Bot{ID: full.ID, Name: "Support", Provider: domain.ProviderOpenAI, BaseURL: full.BaseURL, Model: "m", ContextMessages: 20, CreatedAt: full.CreatedAt}
	schema := loadSpec(t).Components.Schemas["Bot"].Value
	schema.AdditionalProperties.Has = new(bool)
	for want, bot := range map[string]domain.Bot{
		`"provider":"anthropic","has_key":true,"llm_api_key_env":"A_KEY","webhook_url":"https://example.com/context",` +
			`"system_prompt":"Be <brief>.","context_messages":50,"max_output_tokens":100,"temperature":0.5`: full,
		`"provider":"openai","has_key":false,"llm_api_key_env":null,"webhook_url":null,` +
			`"system_prompt":null,"context_messages":20,"max_output_tokens":null,"temperature":null`: bare,
	} {
		shown, err := json.Marshal(shapeBot(bot))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(shown), "canary") || strings.Contains(string(shown), "YSBzZWFsZWQ") {
			t.Errorf("a key is shown: %s", shown)
		}
		if err := checkBody(schema, shown); err != nil {
			t.Error(err)
		}
		want = `{"bot_id":"bot_0190d5b2-7c1e-7a3b-9f00-012345678906","name":"Support","llm_base_url":"https://llm.example.com/v1","model":"m",` +
			`"created_at":"2026-01-02T03:04:05.678Z",` + want + `}`
		if diff := cmp.Diff(decoded(t, []byte(want)), decoded(t, shown)); diff != "" {
			t.Errorf("(-want +shown):\n%s", diff)
		}
	}
}

func decoded(t *testing.T, body []byte) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestWhatABodyDoesNotNameOfABotStays: absent, null and a value are three things.
func TestWhatABodyDoesNotNameOfABotStays(t *testing.T) {
	t.Parallel()
	var in botFields
	body := `{"name":"n","model":null,"context_messages":5,"max_output_tokens":null,"temperature":0}`
	if err := api.Decode([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	name, five, cold := "n", 5, 0.0
	want := domain.BotPatch{
		Name: domain.Setting[string]{Set: true, To: &name}, Model: domain.Setting[string]{Set: true}, ContextMessages: domain.Setting[int]{Set: true, To: &five},
		MaxOutputTokens: domain.Setting[int]{Set: true}, Temperature: domain.Setting[float64]{Set: true, To: &cold},
	}
	if diff := cmp.Diff(want, in.patch()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for body, field := range map[string]string{
		`{"name":5}`: "name", `{"context_messages":1.5}`: "context_messages", `{"max_output_tokens":"9"}`: "max_output_tokens",
		`{"temperature":"warm"}`: "temperature", `{"temperature":1e999}`: "temperature", `{"llm_api_key":{}}`: "llm_api_key", `{"Model":"m"}`: "Model",
	} {
		err := api.Decode([]byte(body), &botFields{})
		if refused, ok := err.(*domain.Error); !ok || refused.Field != field {
			t.Errorf("%s: %v, want an error of %s", body, err, field)
		}
	}
}
