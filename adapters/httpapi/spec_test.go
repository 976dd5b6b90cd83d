package httpapi

import (
	"context"
	"net/http"
	"slices"
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
		want := map[access][]string{public: nil, tenant: {"apiKey", "apiKey", "bearer", "userId"}, operator: {"masterKey"}}[rt.access]
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s %s (-want +specified):\n%s", rt.method, rt.path, diff)
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
