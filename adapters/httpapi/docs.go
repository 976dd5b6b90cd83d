package httpapi

import (
	"net/http"

	"github.com/chatapi/chatapi/api"
)

// openAPI and asyncAPI answer the specifications of this interface and of the sockets.
func (h *handler) openAPI(*exchange) (reply, error) {
	spec, err := api.OpenAPIJSON()
	return reply{http.StatusOK, spec}, err
}

func (h *handler) asyncAPI(*exchange) (reply, error) {
	spec, err := api.AsyncAPIJSON()
	return reply{http.StatusOK, spec}, err
}

// serveDocs leaves the pages to their own package; the headers that every answer has are set, and theirs to change.
func (h *handler) serveDocs(w http.ResponseWriter, r *http.Request) {
	w.(*exchange).r = r
	h.Docs.ServeHTTP(w, r)
}
