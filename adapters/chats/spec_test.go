package chats

import (
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
)

func TestSpecificationHasTheRoutes(t *testing.T) {
	t.Parallel()
	spec, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	var served, specified []string
	for _, rt := range routes {
		served = append(served, rt.method+" "+rt.path)
		o := spec.Paths.Value(rt.path).GetOperation(rt.method)
		for _, status := range []string{"401", "404", "429", "500", "503"} {
			if o == nil || o.Responses.Value(status) == nil {
				t.Errorf("%s %s may answer %s, which is not specified", rt.method, rt.path, status)
			}
		}
	}
	for path, item := range spec.Paths.Map() {
		for method := range item.Operations() {
			if strings.HasPrefix(path, api.ChatsPath) {
				specified = append(specified, method+" "+path)
			}
		}
	}
	slices.Sort(served)
	slices.Sort(specified)
	if diff := cmp.Diff(specified, served); diff != "" {
		t.Errorf("(-specified +served):\n%s", diff)
	}
}
