package cluster

import (
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// TestNodesThatStartAtOnceOnAnEmptyDatabaseAreOneServer: one of them makes the schema, and all have one epoch.
func TestNodesThatStartAtOnceOnAnEmptyDatabaseAreOneServer(t *testing.T) {
	t.Parallel()
	const many = 6
	s := harness.Start(t, harness.Options{Topology: harness.Clustered, Nodes: many, Empty: true})
	tenant := harness.Must(s.NewTenant("one server"))(t)
	room := harness.Must(tenant.User("alice").CreateRoom("group"))(t).RoomID
	epochs := map[string]bool{}
	for _, n := range s.Nodes {
		c := connect(t, tenant.User("bob").At(n))
		epochs[harness.Must(c.AwaitType("connected"))(t).Epoch] = true
		c.Close()
		harness.Must(tenant.User("alice").At(n).Send(room, harness.Body("at %s", n.Base)))(t)
	}
	if len(epochs) != 1 {
		t.Errorf("%d nodes have the epochs %v, want one", many, epochs)
	}
	if got := harness.Must(tenant.User("alice").Room(room))(t).LastSeq; got != many {
		t.Errorf("last_seq %d, want %d", got, many)
	}
}

// refused starts a server that must not come up, and returns what it said.
func refused(t *testing.T, opts harness.Options) string {
	t.Helper()
	s, err := harness.Launch(opts)
	t.Cleanup(func() {
		harness.Check(t, s.Kill())
		harness.Check(t, s.Release())
		harness.Check(t, os.RemoveAll(s.Dir))
	})
	if err == nil {
		t.Fatalf("the server came up with %v", opts)
	}
	for _, hit := range s.CanaryHits() {
		t.Error(hit)
	}
	return s.Log()
}

// beside are options for one more node on the database of a server.
func beside(s *harness.Server, without ...string) harness.Options {
	env := s.Nodes[0].Backends()
	maps.DeleteFunc(env, func(name, _ string) bool {
		for _, w := range without {
			if w == name {
				return true
			}
		}
		return false
	})
	return harness.Options{Env: env, Args: []string{"serve", "--unsafe-durability"}}
}

func TestASecondNodeWithoutRedisRefusesToStartAndSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Topology: harness.OnPostgres})
	said := refused(t, beside(s))
	if !strings.Contains(said, "REDIS_URL") {
		t.Errorf("the second node said nothing of REDIS_URL:\n%s", said)
	}
	tenant := harness.Must(s.NewTenant("first"))(t)
	room := harness.Must(tenant.User("alice").CreateRoom("group"))(t).RoomID
	harness.Must(tenant.User("alice").Send(room, harness.Body("the first goes on")))(t)
	if code, err := s.Terminate(20 * time.Second); err != nil || code != 0 {
		t.Fatalf("the first: exit code %d, %v", code, err)
	}
	next := harness.Start(t, beside(s))
	harness.Check(t, next.Kill()) // and one that dies is followed too
	harness.Check(t, next.Start())
}

func TestANewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	for _, topology := range []harness.Topology{harness.OnPostgres, harness.Clustered} {
		s := harness.Start(t, harness.Options{Topology: topology, Empty: true})
		if code, err := s.Terminate(20 * time.Second); err != nil || code != 0 {
			t.Fatalf("exit code %d, %v", code, err)
		}
		harness.Check(t, s.DoSQL("INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)"))
		if said := refused(t, beside(s)); !strings.Contains(said, "newer release") {
			t.Errorf("on a newer schema it said:\n%s", said)
		}
	}
}

func TestAPostgresThatMayLoseWhatItHasConfirmedIsRefused(t *testing.T) {
	t.Parallel()
	said := refused(t, harness.Options{Topology: harness.OnPostgres, Args: []string{"serve"}})
	if !strings.Contains(said, "fsync") {
		t.Errorf("on a server with fsync off it said:\n%s", said)
	}
}

// TestTwoInstallationsShareARedis and know nothing of each other: every one of these tests has a database of its own.
func TestTwoInstallationsShareARedis(t *testing.T) {
	t.Parallel()
	var both [2]*harness.Server
	var starts sync.WaitGroup
	for i := range both {
		starts.Go(func() {
			if s, err := harness.Launch(harness.Options{Topology: harness.Clustered, Nodes: 2, Admin: true}); err != nil {
				t.Error(err)
			} else {
				both[i] = s
			}
		})
	}
	starts.Wait()
	for _, s := range both {
		if s == nil {
			t.FailNow()
		}
		t.Cleanup(func() {
			if code, err := s.Terminate(20 * time.Second); err != nil || code != 0 {
				t.Errorf("exit code %d, %v", code, err)
			}
			harness.Check(t, s.Release())
			harness.Check(t, os.RemoveAll(s.Dir))
		})
	}
	var conns []*harness.Conn
	for i, s := range both {
		// The default tenant has one id everywhere, and so have its users.
		alice, bob := s.TokenUser(t, "alice"), s.TokenUser(t, "bob")
		harness.Must(alice.CreateRoom("dm", "alice", "bob"))(t)
		conns = append(conns, connect(t, alice.At(s.Nodes[0])))
		if i == 0 {
			connect(t, bob.At(s.Nodes[1]))
		}
	}
	harness.Must(conns[0].AwaitType("presence.update"))(t)
	if got := of(conns[1], "presence.update"); len(got) > 0 {
		t.Errorf("told of another installation: %s", got[0].Raw)
	}
	if got := harness.Must(both[1].TokenUser(t, "alice").Presence("bob"))(t); len(got) != 1 || got[0].Status != "offline" {
		t.Errorf("bob of another installation is %+v here", got)
	}
}
