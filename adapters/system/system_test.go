package system_test

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/system"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var (
	_ ports.Clock = system.Clock{}
	_ ports.IDs   = system.IDs{}
)

func TestTimeIsUTCInWholeMilliseconds(t *testing.T) {
	t.Parallel()
	before := time.Now().Add(-time.Millisecond)
	now := system.Clock{}.Now()
	if now.Location() != time.UTC || now.Nanosecond()%int(time.Millisecond) != 0 {
		t.Errorf("got %v, want UTC and whole milliseconds", now)
	}
	if now.Before(before) || now.After(time.Now()) {
		t.Errorf("got %v, not between %v and now", now, before)
	}
}

func TestIdentifiersAreVersion7DifferAndRise(t *testing.T) {
	t.Parallel()
	var last string
	for range 1000 {
		id := system.IDs{}.NewUUID()
		if id[6]>>4 != 7 || id[8]>>6 != 2 {
			t.Fatalf("%s is not a version 7 UUID of RFC 9562", id)
		}
		if parsed, ok := domain.ParseUUID(id.String()); !ok || parsed != id {
			t.Fatalf("%s does not come back from its text", id)
		}
		if id.String() <= last {
			t.Fatalf("%s came after %s", id, last)
		}
		last = id.String()
	}
}

func TestSecretsHaveTheirLengthAndDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		s := system.IDs{}.Secret(32)
		if len(s) != 32 || seen[string(s)] {
			t.Fatalf("got %d bytes, seen before: %v", len(s), seen[string(s)])
		}
		seen[string(s)] = true
	}
}
