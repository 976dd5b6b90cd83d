package httpapi

import (
	"time"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

// meetClient finds out where a request comes from, and tells where that address stands. An answer to a tenant's
// credential tells of the tenant instead: see authenticate.
func (h *handler) meetClient(x *exchange) {
	x.client = api.ClientAddress(x.r, h.Config.TrustedProxies)
	h.tellClient(x)
}

func (h *handler) tellClient(x *exchange) {
	x.spare = h.Limits.Address(x.r.Context(), x.client)
	api.SetRateLimit(x.Header(), x.spare, time.Now())
}

// refuseGuesses answers a client that has failed too often before any credential of its is looked at.
func (x *exchange) refuseGuesses() error { return api.Obey(x.Header(), x.spare) }

// countFailure counts an authentication that has failed because of the credential.
func (h *handler) countFailure(x *exchange, err error) {
	if domain.CodeOf(err) == domain.CodeAuthentication {
		h.Limits.Failed(x.r.Context(), x.client)
		h.tellClient(x)
	}
}
