package httpapi

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
)

type newMembers struct {
	UserID  string   `json:"user_id"`
	UserIDs []string `json:"user_ids"`
	Role    string   `json:"role"`
}

func (h *handler) listMembers(x *exchange) (reply, error) {
	q := x.query()
	offset, limit := q.offset(), q.limit()
	if q.err != nil {
		return reply{}, q.err
	}
	members, more, err := h.Rooms.Members(x.r.Context(), x.caller, x.roomID(), offset, limit)
	if err != nil {
		return reply{}, err
	}
	if more {
		x.linkNext(q, "offset", int64(offset+limit))
	}
	return reply{http.StatusOK, appendList(members, api.AppendMember)}, nil
}

func (h *handler) addMembers(x *exchange) (reply, error) {
	var in newMembers
	body, err := x.decode(&in)
	if err != nil {
		return reply{}, err
	}
	key, err := x.idempotency(body)
	if err != nil {
		return reply{}, err
	}
	replayed, err := h.Rooms.AddMembers(x.r.Context(), x.caller, x.roomID(), application.NewMembers(in), key)
	if err != nil {
		return reply{}, err
	}
	x.markReplayed(replayed)
	return noContent(), nil
}

type rolePatch struct {
	Role string `json:"role"`
}

func (h *handler) setRole(x *exchange) (reply, error) {
	var in rolePatch
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	user := domain.UserID(x.storable("user_id"))
	return noContent(), h.Rooms.SetRole(x.r.Context(), x.caller, x.roomID(), user, in.Role)
}

func (h *handler) removeMember(x *exchange) (reply, error) {
	user := domain.UserID(x.storable("user_id"))
	return noContent(), h.Rooms.RemoveMember(x.r.Context(), x.caller, x.roomID(), user)
}

// noName is in no store: nothing may be named so, nor is it the empty name, which means somebody here and there.
const noName = "\x7f"

// storable is a name of the path as a store can look it up.
func (x *exchange) storable(name string) string { return storable(x.r.PathValue(name)) }

// storable turns text that no store keeps, and so nothing is named by, into noName.
func storable(value string) string {
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return noName
	}
	return value
}
