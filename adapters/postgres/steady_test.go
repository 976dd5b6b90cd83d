package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// jump has the server's clock be that much further than when a node's time was last written down.
func jump(tb testing.TB, dsn string, by time.Duration) {
	tb.Helper()
	mustExec(tb, connectTo(tb, dsn), fmt.Sprintf("UPDATE outbox_state SET at = at - %d", by.Milliseconds()))
}

// steadyNodes are nodes of one database, one open, with two jobs of which it holds one for as long as a bot's answer.
func steadyNodes(tb testing.TB, dsn string) (n *nodes, cfg postgres.Config, held ports.Claim) {
	tb.Helper()
	clock := &passing{}
	cfg = postgres.Config{DSN: dsn, MaxConns: 2, Clock: clock, Elapsed: clock.Elapsed}
	n = &nodes{TB: tb, clock: clock, tenant: "tenant_nodes", stores: []*postgres.Store{openStore(tb, cfg)}}
	n.addTenant(n.tenant)
	n.enqueue(n.tenant, 2)
	q := claimsOf(1, 8)
	q.Lease = 30 * time.Second
	return n, cfg, n.claimOne(n.stores[0], q)
}

func TestServersClockThatJumpsEndsNothingWhileANodeIsThere(t *testing.T) {
	t.Parallel()
	for what, beside := range map[string]bool{"a node": false, "a command": true} {
		dsn := newDatabase(t)
		n, cfg, held := steadyNodes(t, dsn)
		before := n.stores[0].Now()
		jump(t, dsn, domain.JobLife+time.Hour)
		cfg.Beside = beside
		second := openStore(t, cfg)
		claims, _, err := second.Claim(t.Context(), claimsOf(8, 8))
		if err != nil || len(claims) != 1 || claims[0].ID == held.ID || claims[0].Age > time.Minute {
			t.Errorf("%s that opens is given %+v, %v; want the job that nobody holds, young", what, claims, err)
		}
		n.clock.pass(11 * time.Second)
		harness.Check(t, n.stores[0].Probe(t.Context())) // whatever it does hears of the second's time
		if passed := n.stores[0].Now() - before; passed > time.Minute.Milliseconds() {
			t.Errorf("%s that opens has the time of the first go on by %d ms", what, passed)
		}
	}
}

func TestTimeIsWrittenDownByANodeThatDoesNothing(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	clock := &passing{}
	s := openStore(t, postgres.Config{DSN: dsn, MaxConns: 2, Clock: clock, Elapsed: clock.Elapsed})
	clock.pass(time.Hour)
	want := s.Now()
	c := connectTo(t, dsn)
	harness.Eventually(t, 30*time.Second, "the time is written down", func() bool {
		return count(t, c, fmt.Sprintf("SELECT count(*)::int FROM outbox_state WHERE now = %d", want)) == 1
	})
}

func TestANodeIsKnownToBeThereAgainAfterItsSessionWasLost(t *testing.T) {
	t.Parallel()
	name := ownDatabase(t)
	dsn := server.URL(name)
	n, cfg, held := steadyNodes(t, dsn)
	session := func() (pid uint32) {
		_ = n.stores[0].Hold(func(c *pgx.Conn) error { // while it is lost there is none
			pid = c.PgConn().PID()
			return nil
		})
		return pid
	}
	lost := session()
	harness.Check(t, cutAll(name))
	harness.Eventually(t, 10*time.Second, "it has another session", func() bool { now := session(); return now != 0 && now != lost })
	jump(t, dsn, domain.JobLife+time.Hour)
	claims, _, err := openStore(t, cfg).Claim(t.Context(), claimsOf(8, 8))
	if err != nil || len(claims) != 1 || claims[0].ID == held.ID {
		t.Errorf("a node that opens is given %+v, %v", claims, err)
	}
}
