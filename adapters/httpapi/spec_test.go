package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
)

func loadSpec(t *testing.T) *openapi3.T {
	t.Helper()
	spec, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestSpecificationIsValid(t *testing.T) {
	t.Parallel()
	if err := loadSpec(t).Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestSpecificationHasTheRoutesOfTheMux(t *testing.T) {
	t.Parallel()
	var served, specified []string
	for _, rt := range routes {
		served = append(served, rt.method+" "+rt.path)
	}
	for path, item := range loadSpec(t).Paths.Map() {
		if strings.HasPrefix(path, api.ChatsPath) {
			continue // another adapter's
		}
		for method := range item.Operations() {
			specified = append(specified, method+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(specified)
	if diff := cmp.Diff(specified, served); diff != "" {
		t.Errorf("(-specified +served):\n%s", diff)
	}
}

// asUser are the routes that act for a user: the backend alone is 401 there, and importers need not offer it.
var asUser = map[string]bool{
	"POST /rooms/{room_id}/join": true, "POST /rooms/{room_id}/messages": true, "POST /rooms/{room_id}/read": true,
	"PUT /rooms/{room_id}/messages/{message_id}": true, "POST /acks": true, "POST /ws/token": true,
}

// asBackend are the routes that are the backend's alone: any user is 403 there.
var asBackend = map[string]bool{
	"GET /webhook": true, "POST /notify": true, "POST /bots": true, "GET /bots": true, "GET /bots/{bot_id}": true, "PATCH /bots/{bot_id}": true,
	"DELETE /bots/{bot_id}": true,
}

func TestSpecificationNamesTheCredentialOfEachRoute(t *testing.T) {
	t.Parallel()
	spec := loadSpec(t)
	for _, rt := range routes {
		security := spec.Security
		if own := spec.Paths.Value(rt.path).GetOperation(rt.method).Security; own != nil {
			security = *own
		}
		var names []string
		for _, requirement := range security {
			for name := range requirement {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		want := map[access][]string{
			public: nil, tenant: {"apiKey", "apiKey", "bearer", "userId"}, operator: {"masterKey"}, either: {"apiKey", "masterKey"},
		}[rt.access]
		switch {
		case asUser[rt.method+" "+rt.path]:
			want = want[1:] // no API key alone
		case asBackend[rt.method+" "+rt.path]:
			want = want[:1]
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s %s (-want +specified):\n%s", rt.method, rt.path, diff)
		}
	}
}

// TestSpecificationTellsEveryAnswerInFull: what every answer has is documented for each.
func TestSpecificationTellsEveryAnswerInFull(t *testing.T) {
	t.Parallel()
	spec := loadSpec(t)
	for _, rt := range routes {
		o := spec.Paths.Value(rt.path).GetOperation(rt.method)
		name := rt.method + " " + rt.path
		if o.Summary == "" || o.OperationID == "" || len(o.Tags) != 1 || spec.Tags.Get(o.Tags[0]) == nil {
			t.Errorf("%s has no summary, no id, or not one known tag", name)
		}
		for _, status := range statusesOf(rt) {
			if o.Responses.Value(status) == nil {
				t.Errorf("%s may answer %s, which is not specified", name, status)
			}
		}
		for status, response := range o.Responses.Map() {
			for _, header := range []string{"X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
				if response.Value.Headers[header] == nil {
					t.Errorf("%s, %s: header %s is not specified", name, status, header)
				}
			}
			media := response.Value.Content["application/json"]
			if media != nil && len(media.Examples) == 0 && o.Tags[0] != "documents" {
				t.Errorf("%s, %s has no example", name, status)
			}
		}
	}
}

// statusesOf are those that come before a route's handler: of its credential, its body and the server's state.
func statusesOf(rt route) []string {
	statuses := []string{"500"}
	if rt.access != public {
		statuses = append(statuses, "401", "429", "503")
	}
	if rt.access == tenant || rt.access == either {
		statuses = append(statuses, "400") // a user id that is none
	}
	if rt.access == either || asBackend[rt.method+" "+rt.path] {
		statuses = append(statuses, "403")
	}
	switch rt.method {
	case http.MethodPut, http.MethodPatch:
		statuses = append(statuses, "400", "413", "415")
	}
	return statuses
}

func TestSpecificationDescribesEveryParameter(t *testing.T) {
	t.Parallel()
	spec := loadSpec(t)
	for path, item := range spec.Paths.Map() {
		for method, o := range item.Operations() {
			for _, p := range slices.Concat(item.Parameters, o.Parameters) {
				if p.Value.Description == "" {
					t.Errorf("%s %s: parameter %s is not described", method, path, p.Value.Name)
				}
			}
			if o.RequestBody != nil && o.OperationID != "createSigningKey" && o.RequestBody.Value.Content["application/json"].Example == nil {
				t.Errorf("%s %s: the body has no example", method, path)
			}
		}
	}
}

// TestExamplesAreAsSpecified: what a newcomer copies works.
func TestExamplesAreAsSpecified(t *testing.T) {
	t.Parallel()
	for path, item := range loadSpec(t).Paths.Map() {
		for method, o := range item.Operations() {
			for status, response := range o.Responses.Map() {
				media := response.Value.Content["application/json"]
				if media == nil {
					continue
				}
				for name, example := range media.Examples {
					if err := media.Schema.Value.VisitJSON(example.Value.Value, openapi3.EnableJSONSchema2020()); err != nil {
						t.Errorf("%s %s, %s, %s: %v", method, path, status, name, err)
					}
				}
			}
			if o.RequestBody == nil {
				continue
			}
			media := o.RequestBody.Value.Content["application/json"]
			if media.Example == nil {
				continue
			}
			if err := media.Schema.Value.VisitJSON(media.Example, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s %s: %v", method, path, err)
			}
		}
	}
}

func TestEveryCodeHasItsStatus(t *testing.T) {
	t.Parallel()
	codes := loadSpec(t).Components.Schemas["Error"].Value.Properties["error"].Value.Properties["code"].Value.Enum
	if len(codes) != len(api.Statuses) {
		t.Errorf("%d codes in the specification, %d have a status", len(codes), len(api.Statuses))
	}
	for _, code := range codes {
		if api.Statuses[domain.Code(code.(string))] < http.StatusBadRequest {
			t.Errorf("%v has no status", code)
		}
	}
}
