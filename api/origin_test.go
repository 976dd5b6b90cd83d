package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/api"
)

func TestAnyOriginIsLeftOutUnlessInDevelopment(t *testing.T) {
	t.Parallel()
	list := []string{"*", "https://app.example", "*"}
	if diff := cmp.Diff([]string{"https://app.example"}, api.Origins(list, false)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"*", "https://app.example", "*"}, api.Origins(list, true)); diff != "" {
		t.Error(diff)
	}
}
