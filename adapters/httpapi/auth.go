package httpapi

import (
	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/application"
)

// authenticate proves the caller as the route demands, within the limits of the client's address before and of the
// tenant after. The operator's key opens the operator's routes, and those where it stands for any tenant; its calls are
// no tenant's and count for none.
func (h *handler) authenticate(x *exchange, needed access) error {
	if needed == public {
		return nil
	}
	if err := x.refuseGuesses(); err != nil {
		return err
	}
	if err := h.prove(x, needed); err != nil {
		h.countFailure(x, err)
		return err
	}
	if x.operator {
		return nil
	}
	x.allowOrigin(x.caller.Tenant.Config.AllowedOrigins)
	return api.Obey(x.Header(), h.Limits.Call(x.r.Context(), x.caller))
}

func (h *handler) prove(x *exchange, needed access) error {
	if needed == operator || needed == either && len(x.r.Header.Values(api.HeaderMasterKey)) > 0 {
		return h.proveOperator(x)
	}
	credentials, err := api.RequestCredentials(x.r)
	if err != nil {
		return err
	}
	x.caller, err = h.Identity.Authenticate(x.r.Context(), application.Credentials(credentials))
	return err
}

func (h *handler) proveOperator(x *exchange) error {
	key, err := api.MasterKey(x.r)
	if err != nil {
		return err
	}
	if err := h.Identity.Operator(key); err != nil {
		return err
	}
	x.operator = true
	return nil
}
