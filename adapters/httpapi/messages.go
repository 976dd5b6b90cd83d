package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

type newMessage struct {
	Content  string     `json:"content"`
	Meta     api.Object `json:"meta"`
	ClientID api.Text   `json:"client_id"`
	ReplyTo  api.Text   `json:"reply_to"`
}

func (h *handler) sendMessage(x *exchange) (reply, error) {
	var in newMessage
	body, err := x.decode(&in)
	if err != nil {
		return reply{}, err
	}
	key, err := x.idempotency(body)
	if err != nil {
		return reply{}, err
	}
	draft := domain.Draft{Content: in.Content, Meta: in.Meta, ClientID: string(in.ClientID), ReplyTo: string(in.ReplyTo)}
	sent, err := h.Messaging.Send(x.r.Context(), x.caller, x.roomID(), draft, key)
	if err != nil {
		return reply{}, err
	}
	m := &sent.Message
	x.markReplayed(sent.Duplicate)
	x.Header().Set("Location", x.roomPath(m.Room)+"/messages/"+m.ID.String())
	return reply{http.StatusCreated, appendMessage(nil, m)}, nil
}

// listMessages pages upwards from after_seq, or downwards from before_seq; either way the answer ascends.
func (h *handler) listMessages(x *exchange) (reply, error) {
	q := x.query()
	page := application.Page{
		AfterSeq:  q.integer("after_seq", 0, api.MaxInt, 0),
		BeforeSeq: q.integer("before_seq", 1, api.MaxInt, 0),
		Limit:     q.limit(),
	}
	if q.has("after_seq") && q.has("before_seq") {
		q.fail(domain.Invalid("before_seq", "send after_seq or before_seq, not both"))
	}
	if q.err != nil {
		return reply{}, q.err
	}
	messages, more, err := h.Messaging.History(x.r.Context(), x.caller, x.roomID(), page)
	if err != nil {
		return reply{}, err
	}
	if more && q.has("before_seq") {
		x.linkNext(q, "before_seq", messages[0].Seq)
	} else if more {
		x.linkNext(q, "after_seq", messages[len(messages)-1].Seq)
	}
	return reply{http.StatusOK, appendList(messages, appendMessage)}, nil
}

func (h *handler) getMessage(x *exchange) (reply, error) {
	m, err := h.Messaging.Message(x.r.Context(), x.caller, x.roomID(), x.messageID())
	return reply{http.StatusOK, appendMessage(nil, &m)}, err
}

type messageEdit struct {
	Content string                `json:"content"`
	Meta    api.Field[api.Object] `json:"meta"`
}

// editMessage replaces the content, and meta when the body names it: null clears.
func (h *handler) editMessage(x *exchange) (reply, error) {
	var in messageEdit
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	edit := domain.Edit{Content: in.Content, Meta: in.Meta.Value, SetMeta: in.Meta.Set}
	m, err := h.Messaging.Edit(x.r.Context(), x.caller, x.roomID(), x.messageID(), edit)
	return reply{http.StatusOK, appendMessage(nil, &m)}, err
}

func (h *handler) deleteMessage(x *exchange) (reply, error) {
	return noContent(), h.Messaging.Delete(x.r.Context(), x.caller, x.roomID(), x.messageID())
}

// listChanges pages through a room's log, one item for each position above after_rev that is still told.
func (h *handler) listChanges(x *exchange) (reply, error) {
	q := x.query()
	after, limit := q.integer("after_rev", 0, api.MaxInt, 0), q.limit()
	if q.err != nil {
		return reply{}, q.err
	}
	events, more, err := h.Messaging.Changes(x.r.Context(), x.caller, x.roomID(), after, limit)
	if err != nil {
		return reply{}, err
	}
	if more {
		x.linkNext(q, "after_rev", events[len(events)-1].Rev)
	}
	return reply{http.StatusOK, appendList(events, api.AppendEvent)}, nil
}

// messageID is the message of the path; a malformed id becomes the zero id, as a room's does.
func (x *exchange) messageID() domain.MessageID {
	id, _ := domain.ParseMessageID(x.r.PathValue("message_id"))
	return id
}

func appendMessage(dst []byte, m *domain.Message) []byte { return api.AppendMessage(dst, m, m.Rev) }
