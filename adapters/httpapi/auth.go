package httpapi

import (
	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
)

// authenticate proves the caller as the route demands. The operator's key opens the operator's routes and no others.
func (h *handler) authenticate(x *exchange, needed access) error {
	switch needed {
	case operator:
		key, err := api.MasterKey(x.r)
		if err != nil {
			return err
		}
		return h.Identity.Operator(key)
	case tenant:
		credentials, err := api.RequestCredentials(x.r)
		if err != nil {
			return err
		}
		if x.caller, err = h.Identity.Authenticate(x.r.Context(), application.Credentials(credentials)); err != nil {
			return err
		}
		x.allowOrigin(x.caller.Tenant.Config.AllowedOrigins)
	}
	return nil
}
