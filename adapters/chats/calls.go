package chats

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type newChat struct {
	UserID   string     `json:"user_id"`
	Title    *string    `json:"title"`
	Metadata api.Object `json:"metadata"`
}

func (x *exchange) createChat() (reply, error) {
	body, err := api.ReadBody(x.ResponseWriter, x.r)
	if err != nil {
		return reply{}, err
	}
	var in newChat
	if err := api.Decode(body, &in); err != nil {
		return reply{}, err
	}
	key, err := x.idempotency(body)
	if err != nil {
		return reply{}, err
	}
	draft := domain.ChatDraft{User: in.UserID, Title: in.Title, Metadata: in.Metadata}
	made, err := x.h.Chats.Create(x.r.Context(), x.caller, draft, key)
	if err != nil {
		return reply{}, err
	}
	api.MarkReplayed(x, made.Replayed)
	x.Header().Set("Location", api.ChatsPath+"/"+made.ChatID())
	return reply{http.StatusCreated, append(x.appendChat(nil, &made.Chat), '}')}, nil
}

// idempotency is the request's Idempotency-Key bound to method, path and body; nil when it has none. All
// spellings of a path are one.
func (x *exchange) idempotency(body []byte) (*domain.Idempotency, error) {
	key, given, err := api.IdempotencyKey(x.r)
	if err != nil || !given {
		return nil, err
	}
	return domain.NewIdempotency(x.caller.User, key, x.r.Method, api.Bare(x.r.URL.EscapedPath()), body)
}

// chatID is the chat of the path. A malformed id becomes the zero id, which no chat has.
func (x *exchange) chatID() domain.RoomID {
	id, _ := domain.ParseChatID(x.params["chat_id"])
	return id
}

func (x *exchange) listChats() (reply, error) {
	page, err := x.page(true)
	if err != nil {
		return reply{}, err
	}
	chats, total, err := x.h.Chats.List(x.r.Context(), x.caller, x.params["user_id"], page)
	if err != nil {
		return reply{}, err
	}
	out := append([]byte(nil), `{"chats":[`...)
	for i := range chats {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendCount(x.appendChat(out, &chats[i]), &chats[i]), '}')
	}
	return reply{http.StatusOK, appendPage(append(out, ']'), page, len(chats), total)}, nil
}

func (x *exchange) getChat() (reply, error) {
	chat, err := x.h.Chats.Get(x.r.Context(), x.caller, x.chatID())
	if err != nil {
		return reply{}, err
	}
	out := appendCount(x.appendChat(nil, &chat), &chat)
	return reply{http.StatusOK, append(api.AppendString(append(out, `,"status":`...), chat.Status), '}')}, nil
}

func (x *exchange) listMessages() (reply, error) {
	page, err := x.page(false)
	if err != nil {
		return reply{}, err
	}
	history, err := x.h.Chats.History(x.r.Context(), x.caller, x.chatID(), page)
	if err != nil {
		return reply{}, err
	}
	out := append([]byte(nil), `{"messages":[`...)
	for i := range history.Messages {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendMessage(out, history.Owner, &history.Messages[i])
	}
	return reply{http.StatusOK, appendPage(append(out, ']'), page, len(history.Messages), history.Total)}, nil
}

func (x *exchange) deleteChat() (reply, error) {
	at, err := x.h.Chats.Remove(x.r.Context(), x.caller, x.chatID())
	if err != nil {
		return reply{}, err
	}
	out := api.AppendTime(append([]byte(nil), `{"success":true,"message":"Chat deleted successfully","deleted_at":`...), at)
	return reply{http.StatusOK, append(out, '}')}, nil
}

// The bounds of lists.
const (
	defaultLimit = 50
	maxLimit     = 100
)

// page reads offset, limit and order; newest says what comes first when nobody says.
func (x *exchange) page(newest bool) (p domain.ChatPage, err error) {
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return p, domain.Invalid("", "the query string is malformed")
	}
	if p.Offset, err = integer(values, "offset", 0, api.MaxInt, 0); err != nil {
		return p, err
	}
	if p.Limit, err = integer(values, "limit", 1, maxLimit, defaultLimit); err != nil {
		return p, err
	}
	order, err := one(values, "order")
	switch {
	case err != nil:
		return p, err
	case order == "desc", order == "" && newest && !values.Has("order"):
		p.Newest = true
	case order != "asc" && values.Has("order"):
		return p, domain.Invalid("order", "order is asc or desc")
	}
	return p, nil
}

// one is a parameter given at most once.
func one(values url.Values, name string) (string, error) {
	if len(values[name]) > 1 {
		return "", domain.Invalid(name, "%s is given more than once", name)
	}
	return values.Get(name), nil
}

// integer is a plain decimal from low to high, or fallback when the parameter is absent.
func integer(values url.Values, name string, low, high, fallback int64) (int, error) {
	text, err := one(values, name)
	if err != nil || !values.Has(name) {
		return int(fallback), err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text || n < low || n > high {
		return 0, domain.Invalid(name, "%s must be an integer from %d to %d", name, low, high)
	}
	return int(n), nil
}
