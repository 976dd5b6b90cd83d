package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

type newSubscription struct {
	Topic    string     `json:"topic"`
	Endpoint api.Text   `json:"endpoint"`
	Metadata api.Object `json:"metadata"`
	UserID   api.Text   `json:"user_id"`
}

// subscribe answers the same for a subscription that is there already, and says that it is.
func (h *handler) subscribe(x *exchange) (reply, error) {
	var in newSubscription
	body, err := x.decode(&in)
	if err != nil {
		return reply{}, err
	}
	key, err := x.idempotency(body)
	if err != nil {
		return reply{}, err
	}
	draft := domain.SubscriptionDraft{Topic: in.Topic, User: string(in.UserID), Endpoint: string(in.Endpoint), Metadata: in.Metadata}
	made, err := h.Subscriptions.Add(x.r.Context(), x.caller, draft, key)
	if err != nil {
		return reply{}, err
	}
	shown, err := h.showSubscription(x, made.Subscription)
	if err != nil {
		return reply{}, err
	}
	x.markReplayed(made.Replayed)
	x.Header().Set("Location", x.pathPrefix()+"/subscriptions/"+made.Subscription.ID.String())
	return reply{http.StatusCreated, appendSubscription(nil, &shown)}, nil
}

// listSubscriptions shows the caller's own, or to the backend those of a user or all of its tenant.
func (h *handler) listSubscriptions(x *exchange) (reply, error) {
	q := x.query()
	offset, limit, of := q.offset(), q.limit(), q.user()
	if q.err != nil {
		return reply{}, q.err
	}
	found, more, err := h.Subscriptions.List(x.r.Context(), x.caller, of, offset, limit)
	if err != nil {
		return reply{}, err
	}
	if more {
		x.linkNext(q, "offset", int64(offset+limit))
	}
	shown := make([]shownSubscription, len(found))
	for i, s := range found {
		if shown[i], err = h.showSubscription(x, s); err != nil {
			return reply{}, err
		}
	}
	return reply{http.StatusOK, appendList(shown, appendSubscription)}, nil
}

func (h *handler) unsubscribe(x *exchange) (reply, error) {
	id, _ := domain.ParseSubscriptionID(x.r.PathValue("subscription_id")) // a malformed id is one that does not exist
	return noContent(), h.Subscriptions.Remove(x.r.Context(), x.caller, id)
}

// shownSubscription is a subscription as its reader may see it.
type shownSubscription struct {
	domain.Subscription
	health []byte // a JSON object; nil is not shown
}

// showSubscription adds how the endpoint is doing, for the backend: users cannot mend it.
func (h *handler) showSubscription(x *exchange, s domain.Subscription) (shown shownSubscription, err error) {
	shown.Subscription = s
	if x.caller.Kind != domain.ActorBackend {
		return shown, nil
	}
	if health, ok := h.Subscriptions.Health(x.caller.Tenant.ID, s); ok {
		shown.health, err = json.Marshal(shapeEndpointHealth(health))
	}
	return shown, err
}

func appendSubscription(dst []byte, s *shownSubscription) []byte {
	dst = api.AppendSubscriptionFields(append(dst, '{'), &s.Subscription)
	if s.health != nil {
		dst = append(append(dst, `,"health":`...), s.health...)
	}
	return append(dst, '}')
}

// user is the user that a list is asked for; nil when none is named.
func (q *query) user() *domain.UserID {
	text := q.text("user_id")
	if !q.has("user_id") {
		return nil
	}
	id, err := domain.CheckUserID("user_id", text)
	if err != nil {
		q.fail(err)
	}
	return &id
}
