package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// endpointShape is a tenant's webhook as it is doing, as far as this node has seen it since it started.
type endpointShape struct {
	URL string `json:"url"`
	endpointHealth
	DisabledAt *stamp `json:"disabled_at"` // when it answered 410; null: it is called
}

// endpointHealth is how calls to an endpoint have gone, on this node since it started.
type endpointHealth struct {
	Circuit       string  `json:"circuit"`
	Failures      int     `json:"failures"` // since the last success
	LastSuccessAt *stamp  `json:"last_success_at"`
	LastFailureAt *stamp  `json:"last_failure_at"`
	LastError     *string `json:"last_error"`
	RetryAt       *stamp  `json:"retry_at"` // nothing is sent before; null: now
}

// getWebhook tells the tenant's backend how its webhook is doing. Without a webhook there is nothing to be found.
func (h *handler) getWebhook(x *exchange) (reply, error) {
	health, url, ok, err := h.DeadLetters.Health(x.r.Context(), x.caller)
	switch {
	case err != nil:
		return reply{}, err
	case !ok:
		return reply{}, domain.ErrRoomNotFound
	}
	return encoded(http.StatusOK, endpointShape{
		URL: url, endpointHealth: shapeEndpointHealth(health), DisabledAt: (*stamp)(x.caller.Tenant.Config.WebhookDisabled),
	})
}

func shapeEndpointHealth(health ports.Health) endpointHealth {
	shape := endpointHealth{
		Circuit: health.Circuit, Failures: health.Failures, LastSuccessAt: optional(health.LastSuccess),
		LastFailureAt: optional(health.LastFailure), RetryAt: optional(health.RetryAt),
	}
	if cause := string(health.LastCause); cause != "" {
		shape.LastError = &cause
	}
	return shape
}
