package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// botFields are what a bot is made of, and what a change of one names: absent stays, null clears.
type botFields struct {
	Name            api.Field[*string]  `json:"name"`
	Provider        api.Field[*string]  `json:"provider"`
	BaseURL         api.Field[*string]  `json:"llm_base_url"`
	Model           api.Field[*string]  `json:"model"`
	Key             api.Field[*string]  `json:"llm_api_key"`
	KeyEnv          api.Field[*string]  `json:"llm_api_key_env"`
	WebhookURL      api.Field[*string]  `json:"webhook_url"`
	SystemPrompt    api.Field[*string]  `json:"system_prompt"`
	ContextMessages api.Field[*api.Int] `json:"context_messages"`
	MaxOutputTokens api.Field[*api.Int] `json:"max_output_tokens"`
	Temperature     api.Field[*float64] `json:"temperature"`
}

func (f botFields) patch() domain.BotPatch {
	return domain.BotPatch{
		Name: setting(f.Name), Provider: setting(f.Provider), BaseURL: setting(f.BaseURL), Model: setting(f.Model),
		Key: setting(f.Key), KeyEnv: setting(f.KeyEnv), WebhookURL: setting(f.WebhookURL), SystemPrompt: setting(f.SystemPrompt),
		ContextMessages: count(f.ContextMessages), MaxOutputTokens: count(f.MaxOutputTokens), Temperature: setting(f.Temperature),
	}
}

func setting[T any](f api.Field[*T]) domain.Setting[T] {
	return domain.Setting[T]{Set: f.Set, To: f.Value}
}

func count(f api.Field[*api.Int]) domain.Setting[int] {
	s := domain.Setting[int]{Set: f.Set}
	if f.Value != nil {
		n := int(*f.Value)
		s.To = &n
	}
	return s
}

// botShape is a bot as the backend sees it: of its key only that there is one.
type botShape struct {
	BotID           string          `json:"bot_id"`
	Name            string          `json:"name"`
	Provider        domain.Provider `json:"provider"`
	BaseURL         string          `json:"llm_base_url"`
	Model           string          `json:"model"`
	HasKey          bool            `json:"has_key"`
	KeyEnv          *string         `json:"llm_api_key_env"`
	WebhookURL      *string         `json:"webhook_url"`
	SystemPrompt    *string         `json:"system_prompt"`
	ContextMessages int             `json:"context_messages"`
	MaxOutputTokens *int            `json:"max_output_tokens"`
	Temperature     *float64        `json:"temperature"`
	CreatedAt       stamp           `json:"created_at"`
}

func shapeBot(b domain.Bot) botShape {
	return botShape{
		BotID: b.ID.String(), Name: b.Name, Provider: b.Provider, BaseURL: b.BaseURL, Model: b.Model, HasKey: b.Key != nil,
		KeyEnv: present(b.KeyEnv), WebhookURL: present(b.WebhookURL), SystemPrompt: present(b.SystemPrompt),
		ContextMessages: b.ContextMessages, MaxOutputTokens: present(b.MaxOutputTokens), Temperature: b.Temperature,
		CreatedAt: stamp(b.CreatedAt),
	}
}

// present is a value that is there; nil when it is the zero one.
func present[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func (h *handler) createBot(x *exchange) (reply, error) {
	var in botFields
	body, err := x.decode(&in)
	if err != nil {
		return reply{}, err
	}
	key, err := x.idempotency(body)
	if err != nil {
		return reply{}, err
	}
	bot, replayed, err := h.Bots.Add(x.r.Context(), x.caller, in.patch(), key)
	if err != nil {
		return reply{}, err
	}
	x.markReplayed(replayed)
	x.Header().Set("Location", x.pathPrefix()+"/bots/"+bot.ID.String())
	return encoded(http.StatusCreated, shapeBot(bot))
}

func (h *handler) listBots(x *exchange) (reply, error) {
	q := x.query()
	offset, limit := q.offset(), q.limit()
	if q.err != nil {
		return reply{}, q.err
	}
	bots, more, err := h.Bots.List(x.r.Context(), x.caller, offset, limit)
	if err != nil {
		return reply{}, err
	}
	if more {
		x.linkNext(q, "offset", int64(offset+limit))
	}
	shapes := make([]botShape, len(bots))
	for i, b := range bots {
		shapes[i] = shapeBot(b)
	}
	return encoded(http.StatusOK, shapes)
}

func (h *handler) getBot(x *exchange) (reply, error) {
	bot, err := h.Bots.Get(x.r.Context(), x.caller, x.botID())
	if err != nil {
		return reply{}, err
	}
	return encoded(http.StatusOK, shapeBot(bot))
}

func (h *handler) updateBot(x *exchange) (reply, error) {
	var in botFields
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	bot, err := h.Bots.Update(x.r.Context(), x.caller, x.botID(), in.patch())
	if err != nil {
		return reply{}, err
	}
	return encoded(http.StatusOK, shapeBot(bot))
}

func (h *handler) deleteBot(x *exchange) (reply, error) {
	return noContent(), h.Bots.Remove(x.r.Context(), x.caller, x.botID())
}

// botID is the bot of the path; a malformed id becomes the zero id, as a room's does.
func (x *exchange) botID() domain.BotID {
	id, _ := domain.ParseBotID(x.r.PathValue("bot_id"))
	return id
}

type handoff struct {
	Mode     string   `json:"mode"`
	Assignee api.Text `json:"assignee"`
}

// handOff says who answers in a room from now on.
func (h *handler) handOff(x *exchange) (reply, error) {
	var in handoff
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	room, err := h.Bots.HandOff(x.r.Context(), x.caller, x.roomID(), in.Mode, string(in.Assignee))
	return reply{http.StatusOK, api.AppendRoom(nil, &room)}, err
}

// stopAnswer ends an answer under way, by the id that its message will have.
func (h *handler) stopAnswer(x *exchange) (reply, error) {
	return noContent(), h.Bots.Stop(x.r.Context(), x.caller, x.roomID(), x.messageID())
}
