package httpapi

import "github.com/chatapi/chatapi/api"

// decode reads the body, one JSON object, into v and returns its bytes.
func (x *exchange) decode(v any) ([]byte, error) {
	body, err := api.ReadBody(x.ResponseWriter, x.r)
	if err != nil {
		return nil, err
	}
	return body, api.Decode(body, v)
}

// decodeOptional is decode for calls that need no body.
func (x *exchange) decodeOptional(v any) error {
	body, err := api.ReadBody(x.ResponseWriter, x.r)
	if err != nil || len(body) == 0 {
		return err
	}
	return api.Decode(body, v)
}
