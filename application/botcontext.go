package application

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// verdict is what a context says of the run.
type verdict int

const (
	contextSilent verdict = iota // the bot is to stay silent
	contextGiven
	contextLater // the webhook cannot be asked now
)

// contextPatience is how long a question waits for a webhook that takes no calls now.
const contextPatience = time.Minute

// context asks the tenant's backend what the bot is to be told before the conversation; unless the bot is to
// stay silent. Without a webhook the bot's own prompt is the answer.
func (u *botRun) context(ctx context.Context) (system string, v verdict) {
	url, endpoint := u.contextURL()
	disabled := u.bot.WebhookURL == "" && u.tenant.Config.WebhookDisabled != nil
	if url == "" && !disabled {
		return u.bot.SystemPrompt, contextGiven
	}
	u.r.counters.contexts.Add(1)
	skip, err := false, errContextGone
	if !disabled {
		system, skip, err = u.askContext(ctx, url, endpoint)
	}
	switch {
	case err == nil && skip:
		return "", contextSilent
	case err == nil:
		return system, contextGiven
	case ctx.Err() != nil:
		return "", contextSilent
	case errors.Is(err, errContextBusy) && u.claim.Age < contextPatience:
		return "", contextLater
	}
	u.r.counters.refused.Add(1)
	answer := u.tenant.Config.OnWebhookError != nil && *u.tenant.Config.OnWebhookError == "answer"
	u.r.Logger.Warn("context of a bot not answered", "error", err, "tenant", string(u.claim.Tenant), "bot", u.bot.ID.String(), "answering", answer)
	if answer {
		return u.bot.SystemPrompt, contextGiven
	}
	return "", contextSilent
}

// errContextGone is the answer of a tenant's webhook that has said, with 410, that it wants no more calls.
var errContextGone = errors.New("ask for a bot's context: the webhook is disabled")

// errContextBusy is that of one that takes no calls now: its circuit is open, or it has as many as it may have.
var errContextBusy = errors.New("ask for a bot's context: not now")

// contextURL is where the context is asked for, and the endpoint's name to the guard: the bot's own webhook, the tenant's,
// the operator's.
func (u *botRun) contextURL() (url, endpoint string) {
	if u.bot.WebhookURL != "" {
		return u.bot.WebhookURL, botContextEndpoint(u.claim.Tenant, u.bot.ID)
	}
	return u.r.Courier.Webhook(u.tenant), contextEndpoint(u.claim.Tenant)
}

// contextSuffix tells an endpoint that is asked for contexts from the same one as it is told of messages.
const contextSuffix = "/context"

// contextEndpoint names a tenant's webhook, as it is asked for contexts, to the guard.
func contextEndpoint(tenant domain.TenantID) string { return string(tenant) + contextSuffix }

// askContext makes the one attempt there is: the message is answered now or not at all.
func (u *botRun) askContext(ctx context.Context, url, endpoint string) (system string, skip bool, err error) {
	secrets, err := u.r.Courier.secrets(u.tenant)
	if err != nil {
		return "", false, err
	}
	event := ports.ContextEvent{Tenant: u.claim.Tenant, Bot: u.bot.ID, Room: u.room, Message: u.asked, History: u.turns}
	outcome := u.r.Courier.sender.Send(ctx, ports.Attempt{
		Endpoint: endpoint, URL: url, ID: "ctx_" + domain.UUID(u.asked.ID).String() + "." + u.bot.ID.String(), Timestamp: u.r.Clock.Now(),
		Body: u.r.Encoder.Context(event), Secrets: secrets, Timeout: domain.ContextTimeout, Patience: domain.ContextTimeout, KeepAnswer: true,
	})
	switch outcome.Result {
	case ports.Delivered:
	case ports.Deferred:
		return "", false, fmt.Errorf("%w: %s", errContextBusy, outcome.Cause)
	default:
		return "", false, fmt.Errorf("ask for a bot's context: %s", outcome.Cause)
	}
	return readContext(outcome.Answer)
}

// readContext reads what a webhook answered: a system prompt, or that the bot is to skip this one.
func readContext(answer []byte) (system string, skip bool, err error) {
	var a struct {
		System *string `json:"system_prompt"`
		Skip   bool    `json:"skip"`
	}
	switch err := json.Unmarshal(answer, &a); {
	case err != nil:
		return "", false, fmt.Errorf("read a bot's context: not the JSON that was asked for")
	case a.Skip:
		return "", true, nil
	case a.System == nil:
		return "", false, fmt.Errorf("read a bot's context: neither system_prompt nor skip")
	}
	return *a.System, false, nil
}

// budget looks whether the room's and the tenant's bots may say more now. Replies carry the time of the node that made them:
// the minute is as right as the nodes' clocks agree.
func (u *botRun) budget(ctx context.Context) ending {
	const minute = time.Minute
	budget := u.tenant.Config.Budget()
	over := ending{finish: domain.FinishError, code: domain.StreamBudget}
	if budget.TokensPerMonth > 0 {
		used, err := u.r.Usage.tokens(ctx, u.claim.Tenant)
		if err != nil {
			u.unbudgeted(err)
		} else if used >= budget.TokensPerMonth {
			return over
		}
	}
	replies, err := ports.View(ctx, u.r.Store, u.claim.Tenant, func(v ports.Reader) (int, error) {
		return v.BotReplies(u.claim.Room, u.r.Clock.Now().Add(-minute), budget.RepliesPerMinute)
	})
	if err != nil {
		u.unbudgeted(err)
	} else if replies >= budget.RepliesPerMinute {
		return over
	}
	return ending{}
}

// unbudgeted says that a budget could not be read: the bot answers, since to be silent would punish people for a busy store.
func (u *botRun) unbudgeted(err error) {
	u.r.Logger.Warn("budget of a bot not read", "error", err, "bot", u.bot.ID.String())
}

// key is what the bot's model is asked with: its own, sealed for the bot and its model's origin, or one of the operator's,
// which goes to its origin alone.
func (u *botRun) key() (ports.Secret, error) {
	if u.bot.KeyEnv != "" {
		key, ok := u.r.Config.Keys[u.bot.KeyEnv]
		if !ok || key.Origin != domain.Origin(u.bot.BaseURL) {
			return ports.Secret{}, fmt.Errorf("the operator's key %s is not for this model", u.bot.KeyEnv)
		}
		return key.Key, nil
	}
	if u.bot.Key == nil {
		return ports.Secret{}, nil
	}
	opened, err := u.r.Sealer.Open(u.bot.Key, BotKeyContext(u.claim.Tenant, u.bot))
	return ports.NewSecret(string(opened)), err
}

// BotKeyContext binds a sealed key to its tenant, its bot and the origin it may be sent to.
func BotKeyContext(tenant domain.TenantID, b domain.Bot) string {
	return string(tenant) + "|bot-key|" + b.ID.String() + "|" + domain.Origin(b.BaseURL)
}
