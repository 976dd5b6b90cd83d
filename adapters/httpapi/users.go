package httpapi

import (
	"net/http"
	"strings"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type userPatch struct {
	Name      api.Field[*string]    `json:"name"`
	AvatarURL api.Field[*string]    `json:"avatar_url"`
	Metadata  api.Field[api.Object] `json:"metadata"`
}

// putUser says of a user what the body names; absent stays, null clears.
func (h *handler) putUser(x *exchange) (reply, error) {
	var in userPatch
	if _, err := x.decode(&in); err != nil {
		return reply{}, err
	}
	user, err := h.Users.Put(x.r.Context(), x.caller, x.storable("user_id"), domain.UserPatch{
		Name: in.Name.Value, SetName: in.Name.Set,
		AvatarURL: in.AvatarURL.Value, SetAvatarURL: in.AvatarURL.Set,
		Metadata: in.Metadata.Value, SetMetadata: in.Metadata.Set,
	})
	return reply{http.StatusOK, api.AppendUser(nil, &user)}, err
}

func (h *handler) getUser(x *exchange) (reply, error) {
	user, err := h.Users.Get(x.r.Context(), x.caller, x.storable("user_id"))
	return reply{http.StatusOK, api.AppendUser(nil, &user)}, err
}

// presence tells who is online. The ids are separated by commas, percent-encoded or not: clients' libraries differ. An
// id with a comma in it cannot be asked for here.
func (h *handler) presence(x *exchange) (reply, error) {
	q := x.query()
	text := q.text("user_ids")
	if q.err != nil {
		return reply{}, q.err
	}
	var ids []string
	if text != "" {
		ids = strings.Split(text, ",")
	}
	statuses, err := h.Presence.Status(x.r.Context(), x.caller, ids)
	return reply{http.StatusOK, appendList(statuses, api.AppendStatus)}, err
}
