package chats

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// appendChat appends a chat without its closing brace.
func (x *exchange) appendChat(dst []byte, c *domain.Chat) []byte {
	dst = api.AppendString(append(dst, `{"id":`...), c.ChatID())
	dst = api.AppendString(append(dst, `,"user_id":`...), c.Owner)
	dst = api.AppendString(append(dst, `,"tenant_id":`...), x.caller.Tenant.ID)
	dst = api.AppendString(append(dst, `,"title":`...), c.Title)
	dst = append(append(append(dst, `,"config":{"metadata":`...), orEmpty(c.Metadata)...), '}')
	dst = api.AppendTime(append(dst, `,"created_at":`...), c.CreatedAt)
	dst = api.AppendTime(append(dst, `,"updated_at":`...), c.UpdatedAt)
	if c.LastMessageAt.IsZero() {
		return append(dst, `,"last_message_at":null`...)
	}
	return api.AppendTime(append(dst, `,"last_message_at":`...), c.LastMessageAt)
}

func appendCount(dst []byte, c *domain.Chat) []byte {
	return strconv.AppendInt(append(dst, `,"message_count":`...), c.Messages, 10)
}

func orEmpty(object []byte) []byte {
	if object == nil {
		return []byte("{}")
	}
	return object
}

// appendPage ends a list with where its page lies.
func appendPage(dst []byte, p domain.ChatPage, returned, total int) []byte {
	dst = strconv.AppendInt(append(dst, `,"total":`...), int64(total), 10)
	dst = strconv.AppendInt(append(dst, `,"offset":`...), int64(p.Offset), 10)
	dst = strconv.AppendInt(append(dst, `,"limit":`...), int64(p.Limit), 10)
	return append(strconv.AppendBool(append(dst, `,"has_more":`...), p.Offset < total && p.Offset+returned < total), '}')
}

// appendMessage appends a message of a chat of owner's. Of a deleted one its place is left.
func appendMessage(dst []byte, owner domain.UserID, m *domain.Message) []byte {
	role, _ := domain.ChatRoleOf(owner, m.Sender)
	content := m.Content
	if m.IsDeleted() {
		content = ""
	}
	dst = api.AppendMessageID(append(dst, `{"id":`...), m.ID)
	dst = api.AppendString(append(dst, `,"content":`...), content)
	dst = api.AppendString(append(dst, `,"sender_role":`...), role)
	dst = api.AppendTime(append(dst, `,"media_type":null,"media_url":null,"created_at":`...), m.CreatedAt)
	return append(append(append(dst, `,"metadata":`...), metadataOf(owner, m.Sender, m.Meta, m.IsDeleted())...), '}')
}

// metadataOf is what is known of a message besides its text: what its sender has said of it, with tokens_used for a
// model's, human for a person's who has taken over, and deleted for a deleted one's.
func metadataOf(owner, sender domain.UserID, meta []byte, deleted bool) []byte {
	role, human := domain.ChatRoleOf(owner, sender)
	if deleted {
		meta = nil
	}
	if role == domain.ChatUser && !deleted {
		return orEmpty(meta)
	}
	fields := map[string]jsontext.Value{}
	if meta != nil {
		if err := json.Unmarshal(meta, &fields); err != nil {
			return []byte("{}") // cannot be: it was checked when it came
		}
	}
	if deleted {
		fields["deleted"] = jsontext.Value("true")
	}
	if human {
		fields["human"] = jsontext.Value("true")
	}
	if tokens, ok := tokensOf(fields["usage"]); ok && !human {
		fields["tokens_used"] = jsontext.Value(strconv.FormatInt(tokens, 10))
	}
	out, err := json.Marshal(fields, json.Deterministic(true))
	if err != nil {
		return []byte("{}")
	}
	return out
}

func tokensOf(usage jsontext.Value) (tokens int64, ok bool) {
	var used struct {
		Input  int64 `json:"input_tokens"`
		Output int64 `json:"output_tokens"`
	}
	if usage == nil || json.Unmarshal(usage, &used) != nil {
		return 0, false
	}
	return used.Input + used.Output, true
}

// writeError answers an error as this API does, with what its status asks for.
func writeError(w http.ResponseWriter, status int, e *domain.Error) {
	api.Challenge(w.Header(), status)
	out := strconv.AppendInt([]byte(`{"error":`), int64(status), 10)
	api.WriteJSON(w, status, append(api.AppendString(append(out, `,"message":`...), messageOf(e)), '}'))
}

// messageOf says what is wrong, and with which field: the shapes of this API have no other place for that.
func messageOf(e *domain.Error) string {
	if e.Field == "" || strings.Contains(e.Message, e.Field) {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// The codes of error events.
const (
	codeAuth     = "AUTH_ERROR"
	codeNotFound = "CHAT_NOT_FOUND"
	codeLimited  = "RATE_LIMITED"
	codeInvalid  = "INVALID_MESSAGE"
	codeAI       = "AI_ERROR"
	codeTimeout  = "TIMEOUT"
	codeInternal = "INTERNAL_ERROR"
)

// problem is what an error event says.
type problem struct {
	code, message, fix string
	messageID, content string // of an answer that was cut and is kept as far as it came
}

// closes is the close code of a socket that ends for it: after 1011 a client comes back as it is.
func (p *problem) closes() int {
	if p.code == codeInternal {
		return closeInternal
	}
	return closePolicy
}

// appendEvent begins an event.
func appendEvent(dst []byte, kind string, at time.Time) []byte {
	dst = append(append(append(dst, `{"event_type":"`...), kind...), '"')
	return api.AppendTime(append(dst, `,"timestamp":`...), at)
}

func (s *session) event(kind string, fields func(dst []byte) []byte) []byte {
	return append(fields(appendEvent(nil, kind, s.h.Clock.Now())), '}')
}

func (s *session) appendChatID(dst []byte) []byte {
	return api.AppendString(append(dst, `,"chat_id":`...), domain.UUID(s.room).String())
}

func (s *session) established() []byte {
	return s.event("connection_established", func(dst []byte) []byte {
		dst = s.appendChatID(api.AppendString(append(dst, `,"user_id":`...), s.caller.User))
		return api.AppendString(append(dst, `,"tenant_id":`...), s.caller.Tenant.ID)
	})
}

func (s *session) userCreated() []byte {
	return s.event("user_created", func(dst []byte) []byte { return api.AppendString(append(dst, `,"user_id":`...), s.caller.User) })
}

// errorEvent says what is wrong and what would mend it.
func (s *session) errorEvent(p problem) []byte {
	return s.event("error", func(dst []byte) []byte {
		dst = api.AppendString(append(dst, `,"error_code":`...), p.code)
		dst = api.AppendString(append(dst, `,"error_message":`...), p.message)
		dst = api.AppendString(append(dst, `,"details":{"fix":`...), p.fix)
		if p.messageID != "" {
			dst = api.AppendString(append(dst, `,"message_id":`...), p.messageID)
			dst = api.AppendString(append(dst, `,"content":`...), p.content)
		}
		return append(dst, '}')
	})
}
