package cluster

import (
	"encoding/json"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/migrations"
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

// step is a step of the schema as migrate prints it.
type step struct {
	Version   int64  `json:"version"`
	Name      string `json:"name"`
	State     string `json:"state"`
	AppliedAt string `json:"applied_at"`
}

// command runs the binary beside whatever servers there are, and returns what it printed and what it said.
func command(t *testing.T, env map[string]string, args ...string) (out, said string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Must(harness.Binary())(t), args...)
	cmd.Dir, cmd.Env = t.TempDir(), []string{}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var printed, complaints strings.Builder
	cmd.Stdout, cmd.Stderr = &printed, &complaints
	err = cmd.Run()
	return printed.String(), complaints.String(), err
}

// TestMigrateTellsWhatItHasDoneOnPostgres: what is pending, what it has applied, and that nothing is left; beside a server
// too. A newer schema is refused.
func TestMigrateTellsWhatItHasDoneOnPostgres(t *testing.T) {
	t.Parallel()
	b := harness.Must(harness.SharedBackends())(t)
	database := harness.Must(b.Postgres.NewDatabase())(t)
	t.Cleanup(func() { harness.Check(t, b.Postgres.Drop(database)) })
	env := map[string]string{"DATABASE_DSN": b.Postgres.URL(database), "SECRETS_KEY": strings.Repeat("0a", 32)}
	wantSteps := func(state string, args ...string) {
		t.Helper()
		out, said, err := command(t, env, append(args, "--json")...)
		var got []step
		if err != nil || json.Unmarshal([]byte(out), &got) != nil {
			t.Fatalf("%v: %v, printed %s%s", args, err, out, said)
		}
		files := harness.Must(fs.Glob(migrations.Postgres(), "*.sql"))(t)
		if len(got) != len(files) {
			t.Fatalf("%v told %+v, want the steps of %v", args, got, files)
		}
		for i, s := range got {
			_, name, _ := strings.Cut(strings.TrimSuffix(files[i], ".sql"), "_")
			at, err := time.Parse(time.RFC3339, s.AppliedAt)
			if s.Version != int64(i+1) || s.Name != name || s.State != state || (state == "applied") != (err == nil && time.Since(at).Abs() < time.Hour) {
				t.Errorf("%v told %+v, want step %s %s", args, s, files[i], state)
			}
		}
	}
	wantSteps("pending", "migrate", "status")
	wantSteps("applied", "migrate", "up")
	wantSteps("applied", "migrate", "status")
	if out, said, err := command(t, env, "migrate", "up"); err != nil || out != "" || !strings.Contains(said, "nothing to apply") {
		t.Errorf("up once more: %v, printed %s%s", err, out, said)
	}
	s := harness.Start(t, harness.Options{Env: env, Args: []string{"serve", "--unsafe-durability"}})
	wantSteps("applied", "migrate", "status")
	if code, err := s.Terminate(20 * time.Second); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	harness.Check(t, b.Postgres.Do(database, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)"))
	for _, verb := range []string{"status", "up"} {
		if out, said, err := command(t, env, "migrate", verb); err == nil || out != "" || !strings.Contains(said, "newer release") {
			t.Errorf("%s of a newer schema: %v, printed %s%s", verb, err, out, said)
		}
	}
}

// TestANewEpochHasAllNodesStopped, and is that of every node afterwards.
func TestANewEpochHasAllNodesStopped(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Topology: harness.Clustered, Nodes: 2, Empty: true})
	tenant := harness.Must(s.NewTenant("restored"))(t)
	epochs := func() (of []string) {
		for _, n := range s.Nodes {
			c := connect(t, tenant.User("bob").At(n))
			of = append(of, harness.Must(c.AwaitType("connected"))(t).Epoch)
			c.Close()
		}
		return of
	}
	before := epochs()
	for _, n := range s.Nodes {
		if _, err := s.Command(t.Context(), "store", "new-epoch"); err == nil || !strings.Contains(err.Error(), "a server has the store open") {
			t.Errorf("a new epoch beside a node: %v", err)
		}
		if code := harness.Must(n.Terminate(20 * time.Second))(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	var renewed struct {
		Epoch string `json:"epoch"`
	}
	harness.Check(t, json.Unmarshal([]byte(harness.Must(s.Command(t.Context(), "store", "new-epoch", "--json"))(t)), &renewed))
	harness.Check(t, s.Start())
	for _, epoch := range epochs() {
		if epoch != renewed.Epoch || epoch == before[0] {
			t.Errorf("a node has the epoch %s, want %s and not %s", epoch, renewed.Epoch, before[0])
		}
	}
}

// TestANodeFindsItsBackendsInFiles: DATABASE_DSN_FILE and REDIS_URL_FILE make it a node of the cluster, and it tells their
// passwords to nobody.
func TestANodeFindsItsBackendsInFiles(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Topology: harness.Clustered, Nodes: 1})
	opts, dir := beside(s), t.TempDir()
	var passwords []string
	for _, name := range []string{"DATABASE_DSN", "REDIS_URL"} {
		held := harness.Must(url.Parse(opts.Env[name]))(t)
		password, _ := held.User.Password()
		passwords = append(passwords, password)
		path := filepath.Join(dir, name)
		harness.Check(t, os.WriteFile(path, []byte(opts.Env[name]+"\n"), 0o600))
		opts.Env[name], opts.Env[name+"_FILE"] = "", path
	}
	joined := harness.Start(t, opts)
	wantHealth(t, joined.Nodes, "ok")
	harness.Eventually(t, 20*time.Second, "the nodes know of each other", func() bool { return harness.Must(joined.Metric("chatapi_redis_nodes"))(t) == 2 })
	tenant := harness.Must(s.NewTenant("in files"))(t)
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group"))(t).RoomID
	c := connect(t, alice.At(joined.Nodes[0]))
	sent := harness.Must(alice.Send(room, harness.Body("from the other node")))(t)
	harness.Must(c.AwaitMessage(room, sent.Seq))(t)
	shown := harness.Must(joined.Command(t.Context(), "config"))(t) + joined.Log()
	for _, password := range passwords {
		if password == "" || strings.Contains(shown, password) {
			t.Errorf("a password is told:\n%s", shown)
		}
	}
}
