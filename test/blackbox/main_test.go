// Package blackbox tests the server as its clients meet it: the real binary, over HTTP and WebSocket alone.
package blackbox

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// tenantOf starts a server and makes a tenant without a rate limit.
func tenantOf(t *testing.T, opts harness.Options) *harness.Tenant {
	t.Helper()
	s := harness.Start(t, opts)
	return harness.Must(s.NewTenant(t.Name()))(t)
}

// soon fails unless something is so: at once on one node, on several as soon as news has gone around.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	limit := time.Duration(0)
	if harness.DefaultTopology() == harness.Clustered {
		limit = time.Second
	}
	harness.Eventually(t, limit, what, is)
}

// users are n users of a tenant with their ids.
func users(tenant *harness.Tenant, prefix string, n int) ([]*harness.User, []string) {
	all, ids := make([]*harness.User, n), make([]string, n)
	for i := range n {
		ids[i] = fmt.Sprintf("%s%d", prefix, i)
		all[i] = tenant.User(ids[i])
	}
	return all, ids
}

// connect opens a user's socket and waits until its replay is done.
func connect(t *testing.T, u *harness.User, query ...string) *harness.Conn {
	t.Helper()
	c := harness.Must(u.Dial(query...))(t)
	t.Cleanup(c.Drop)
	harness.Must(c.AwaitType("sync.complete"))(t)
	return c
}

// wantLive fails unless the server takes and returns a message.
func wantLive(t *testing.T, u *harness.User, room string) {
	t.Helper()
	sent := harness.Must(u.Send(room, harness.Body("still alive")))(t)
	page := harness.Must(u.Page(room, sent.Seq-1, 1))(t)
	if len(page) != 1 || page[0].MessageID != sent.MessageID {
		t.Errorf("the history after seq %d: got %+v, want the message %s", sent.Seq-1, page, sent.MessageID)
	}
}

// wantDense fails unless messages are seq from, from+1 … to.
func wantDense(t *testing.T, messages []harness.Message, from, to int64) {
	t.Helper()
	if int64(len(messages)) != to-from+1 {
		t.Errorf("got %d messages, want %d (seq %d to %d): %v", len(messages), to-from+1, from, to, seqs(messages))
		return
	}
	for i, m := range messages {
		if m.Seq != from+int64(i) {
			t.Errorf("message %d has seq %d, want %d", i, m.Seq, from+int64(i))
			return
		}
	}
}

func seqs(messages []harness.Message) []int64 {
	const enough = 40
	out := []int64{}
	for _, m := range messages[:min(enough, len(messages))] {
		out = append(out, m.Seq)
	}
	return out
}

// sameJSON fails unless two documents are equal but for the order of their keys.
func sameJSON(t *testing.T, what string, got, want []byte) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%s: %v in %.300s", what, err, got)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatalf("%s: %v in %.300s", what, err, want)
	}
	if fmt.Sprint(g) != fmt.Sprint(w) {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}
