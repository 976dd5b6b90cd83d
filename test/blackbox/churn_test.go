package blackbox

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestClientsThatComeAndGoBesidePostersLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	const clients, first, visits = 40, 3, 9
	tenant := tenantOf(t, harness.Options{Admin: true})
	s := tenant.Server()
	_, ids := users(tenant, "visitor", clients)
	poster := tenant.User("poster")
	room := harness.Must(poster.CreateRoom("group", ids...))(t).RoomID
	posted := churn(t, tenant, room, ids, first) // whatever is made once, such as connections to a database, exists from here on
	<-time.After(awayFor + 3*time.Second)        // by then those who left are away for good
	goroutines, descriptors := standing(t, s)

	posted += churn(t, tenant, room, ids, visits)
	t.Logf("%d visits beside %d posts", clients*(first+visits), posted)
	wantDense(t, harness.Must(poster.History(room, 0, 100))(t), 1, posted)

	slack := 8 * len(s.Nodes)
	var g, d int
	err := harness.Until(30*time.Second, "goroutines and descriptors return", func() bool {
		g, d = standing(t, s)
		return g <= goroutines+slack && d <= descriptors+slack
	})
	if err != nil {
		t.Errorf("%v: goroutines %d → %d, descriptors %d → %d", err, goroutines, g, descriptors, d)
	}
}

// churn has each visitor come and go so often while others post, and returns how many messages were posted.
func churn(t *testing.T, tenant *harness.Tenant, room string, visitors []string, visits int) int64 {
	t.Helper()
	const posters = 8
	poster := tenant.User("poster")
	var done atomic.Bool
	var posted atomic.Int64
	errs := make(chan error, len(visitors)*visits+posters)
	var visiting, posting sync.WaitGroup
	for range posters {
		posting.Go(func() {
			const bound = 100_000
			for n := 0; !done.Load() && n < bound; n++ {
				if _, err := poster.Send(room, harness.Body("beside the churn")); err != nil {
					errs <- err
					return
				}
				posted.Add(1)
				<-time.After(10 * time.Millisecond) // a pace that sockets of a slow machine can follow, else they never catch up
			}
		})
	}
	for _, id := range visitors {
		visiting.Go(func() {
			for n := range visits {
				if err := visit(tenant.User(id), n); err != nil {
					errs <- fmt.Errorf("visit %d of %s: %w", n, id, err)
				}
			}
		})
	}
	visiting.Wait()
	done.Store(true)
	posting.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	return posted.Load()
}

// visit connects, waits to be greeted or synced, and leaves politely or not.
func visit(u *harness.User, n int) error {
	c, err := u.Dial("device_id", fmt.Sprintf("d%d", n%3))
	if err != nil {
		return err
	}
	greeting := []string{"connected", "sync.complete"}[n%2]
	_, err = c.AwaitType(greeting)
	if n%4 < 2 {
		c.Close()
	} else {
		c.Drop()
	}
	return err
}

// standing is how many goroutines and descriptors the server has now that no client's idle connection is counted.
func standing(t *testing.T, s *harness.Server) (goroutines, descriptors int) {
	t.Helper()
	s.CloseIdleConnections()
	g := harness.Must(s.Metric("go_goroutines"))(t)
	s.CloseIdleConnections()
	return int(g), harness.Must(s.Descriptors())(t)
}

func TestASixthSocketOfAUserIsClosed(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	u := tenant.User("many")
	for range 5 {
		connect(t, u)
	}
	sixth, err := u.Dial()
	var refused *harness.HandshakeError
	if errors.As(err, &refused) {
		t.Fatalf("the sixth socket was refused with %d, want an upgrade and close 1008", refused.Status)
	}
	harness.Check(t, err)
	t.Cleanup(sixth.Drop)
	if code := harness.Must(sixth.CloseCode(30 * time.Second))(t); code != 1008 {
		t.Errorf("close code: got %d, want 1008", code)
	}
	harness.Must(u.Call(http.MethodGet, "/rooms", nil, 200, nil))(t)
}
