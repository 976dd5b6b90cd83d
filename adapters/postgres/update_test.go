package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// cutAll ends all sessions of a database but the superuser's, as a restart of the server does.
func cutAll(name string) error {
	return server.Do(name, fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' AND usename = 'chatapi'", name))
}

func TestWorkGoesOnAtOnceAfterAllConnectionsWereLost(t *testing.T) {
	t.Parallel()
	name := ownDatabase(t)
	s := withTenant(t, postgres.Config{DSN: server.URL(name), MaxConns: 6})
	room := makeRoom(t, s, tenant, "ann")
	var all sync.WaitGroup
	for range 6 { // several connections lie idle
		all.Go(func() { history(t, s, tenant, room.ID) })
	}
	all.Wait()
	for i := range 3 {
		mustAppend(t, s, tenant, room.ID, fmt.Sprint("before ", i))
		harness.Check(t, cutAll(name))
		switch i { // whoever comes first
		case 0:
			mustAppend(t, s, tenant, room.ID, "after")
		case 1:
			makeRoom(t, s, tenant, "bob")
		case 2:
			if _, err := s.Tenant(t.Context(), tenant); err != nil {
				t.Errorf("a look across tenants: %v", err)
			}
		}
		if got := len(history(t, s, tenant, room.ID)); got != i+1+min(i+1, 1) {
			t.Errorf("%d messages in round %d", got, i)
		}
	}
}

func TestUnitOfWorkWhoseConnectionIsLostIsUnavailableAndLeavesNothing(t *testing.T) {
	t.Parallel()
	name := ownDatabase(t)
	var said syncBuffer
	s := withTenant(t, postgres.Config{DSN: server.URL(name), Logger: slog.New(slog.NewTextHandler(&said, nil))})
	room := makeRoom(t, s, tenant, "ann")
	var told atomic.Int64
	s.OnCommit(func(events []domain.Event) { told.Add(int64(len(events))) })
	for what, swallow := range map[string]bool{"handed on": false, "swallowed": true, "found at the commit": true} {
		runs := 0
		err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			runs++
			if _, err := tx.AddMember(room.ID, domain.UserID(what), domain.RoleMember, now); err != nil {
				return err
			}
			if err := cutAll(name); err != nil {
				return err
			}
			if what == "found at the commit" {
				return nil
			}
			_, err := tx.AddMember(room.ID, "eve", domain.RoleMember, now)
			if err == nil {
				return errors.New("a statement has succeeded without a connection")
			}
			if swallow {
				return nil
			}
			return fmt.Errorf("add eve: %w", err)
		})
		if !errors.Is(err, domain.ErrUnavailable) || runs != 1 {
			t.Errorf("%s: %v after %d runs, want ErrUnavailable after one", what, err, runs)
		}
	}
	members, err := ports.View(t.Context(), s, tenant, func(r ports.Reader) ([]domain.Member, error) {
		return r.Members(room.ID, 0, 10)
	})
	if err != nil || len(members) != 1 || told.Load() != 0 {
		t.Errorf("members %+v (%v), %d events: want ann alone and none", members, err, told.Load())
	}
	_, err = s.Tenants(t.Context(), 0, 10)
	if err != nil {
		t.Errorf("a look across tenants afterwards: %v", err)
	}
	mustAppend(t, s, tenant, room.ID, "and all goes on")
	if log := said.String(); !strings.Contains(log, "store cannot be used") || !strings.Contains(log, "store can be used again") {
		t.Errorf("the log does not tell of the trouble and its end: %s", log)
	}
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func TestStatementThatFailedIsNotCommittedWhateverTheClosureSays(t *testing.T) {
	t.Parallel()
	s := withTenant(t, postgres.Config{})
	err := s.InTenant(t.Context(), tenant, func(run func(string, ...any) error) error {
		if err := run("INSERT INTO users (tenant, id) SELECT current_setting('chatapi.tenant')::bigint, 'ann'"); err != nil {
			return err
		}
		_ = run("SELECT 1 / 0")
		return nil
	})
	if err == nil {
		t.Error("a unit of work with a failed statement was committed")
	}
	_, err = ports.View(t.Context(), s, tenant, func(r ports.Reader) (domain.User, error) { return r.User("ann") })
	if !errors.Is(err, domain.ErrUserNotFound) {
		t.Errorf("ann: %v", err)
	}
}

func TestTwoUnitsOfWorkThatWaitForEachOtherBothSucceed(t *testing.T) {
	t.Parallel()
	s := withTenant(t, postgres.Config{})
	rooms := []domain.Room{makeRoom(t, s, tenant, "ann"), makeRoom(t, s, tenant, "ann")}
	var first sync.WaitGroup
	first.Add(2)
	var runs atomic.Int64
	work := func(user domain.UserID, a, b domain.RoomID) error {
		met := false
		return s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			runs.Add(1)
			if _, err := tx.AddMember(a, user, domain.RoleMember, now); err != nil {
				return err
			}
			if !met {
				met = true
				first.Done()
				first.Wait() // both hold a room
			}
			_, err := tx.AddMember(b, user, domain.RoleMember, now)
			return err
		})
	}
	other := make(chan error, 1)
	go func() { other <- work("bob", rooms[0].ID, rooms[1].ID) }()
	err := work("cid", rooms[1].ID, rooms[0].ID)
	if err2 := <-other; err != nil || err2 != nil {
		t.Errorf("two that waited for each other: %v and %v", err, err2)
	}
	// The one that was run again may have its room before the other that waits for it, and then they meet once more.
	if again := int64(s.Stats().Retries); again < 1 || runs.Load() != 2+again {
		t.Errorf("%d runs and %d retries, want two and one for each retry", runs.Load(), again)
	}
	for _, room := range rooms {
		members, err := ports.View(t.Context(), s, tenant, func(r ports.Reader) ([]domain.Member, error) { return r.Members(room.ID, 0, 10) })
		if err != nil || len(members) != 3 {
			t.Errorf("members %+v, %v: want three", members, err)
		}
	}
}

func TestWorkIsRefusedWhenNoConnectionComesFree(t *testing.T) {
	t.Parallel()
	s := withTenant(t, postgres.Config{MaxConns: 1})
	room := makeRoom(t, s, tenant, "ann")
	err := s.View(t.Context(), tenant, func(ports.Reader) error {
		started := time.Now()
		err := s.Update(t.Context(), tenant, func(ports.Tx) error { return nil })
		if took := time.Since(started); !errors.Is(err, domain.ErrBusy) || took < postgres.AcquirePatience {
			t.Errorf("a unit of work without a connection ended with %v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := s.View(ctx, tenant, func(ports.Reader) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a view whose context ended while it waited: %v", err)
		}
		mustAppend(t, s, tenant, room.ID, "sends have connections of their own")
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestClosedStoreRefusesAll(t *testing.T) {
	t.Parallel()
	s := withTenant(t, postgres.Config{})
	room := makeRoom(t, s, tenant, "ann")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, sendErr := appendTo(t, s, tenant, room.ID, newSend("ann", "late"))
	_, tenantErr := s.Tenant(t.Context(), tenant)
	for what, err := range map[string]error{
		"Append": sendErr, "Tenant": tenantErr, "Probe": s.Probe(t.Context()),
		"Update": s.Update(t.Context(), tenant, func(ports.Tx) error { return nil }),
		"View":   s.View(t.Context(), tenant, func(ports.Reader) error { return nil }),
	} {
		if !errors.Is(err, domain.ErrClosing) {
			t.Errorf("%s of a closed store: %v", what, err)
		}
	}
}

func TestTimeOfNodesGoesOnFromTheLatest(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t)
	ahead, behind := &passing{}, &passing{}
	first := openStore(t, postgres.Config{DSN: dsn, Clock: ahead, Elapsed: ahead.Elapsed})
	second := openStore(t, postgres.Config{DSN: dsn, Clock: behind, Elapsed: behind.Elapsed})
	use := func(s *postgres.Store) int64 {
		now := s.Now()
		if err := s.Probe(t.Context()); err != nil { // any work of a store that has used its time
			t.Fatal(err)
		}
		return now
	}
	use(second)
	ahead.pass(time.Hour) // as when the other's machine was suspended
	before := use(first)
	behind.pass(11 * time.Second) // it writes its own down, and finds the other's
	use(second)
	if got := second.Now(); got < before || got > before+time.Minute.Milliseconds() {
		t.Errorf("the second node's time is %d, and the first's was %d", got, before)
	}
	if got := first.Now(); got != before {
		t.Errorf("the first node's time went from %d to %d", before, got)
	}
}

func TestServerThatIsRestartedLosesNothingThatWasConfirmed(t *testing.T) {
	t.Parallel()
	own, err := harness.LaunchPG(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harness.Check(t, own.Close()) })
	name, err := own.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	s, err := postgres.Open(t.Context(), postgres.Config{DSN: own.URL(name), Alone: true, Logger: slog.New(slog.DiscardHandler),
		OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}) // a server that syncs is taken
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { harness.Check(t, s.Close()) })
	makeTenant(t, s, tenant)
	room := makeRoom(t, s, tenant, "ann")
	stop := make(chan struct{})
	var sent, failed atomic.Int64
	confirmed := make([]map[domain.MessageID]bool, 4)
	var all sync.WaitGroup
	for w := range confirmed {
		confirmed[w] = map[domain.MessageID]bool{}
		all.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				send := newSend("ann", fmt.Sprint(w, "/", i))
				send.Draft.ClientID = send.ID.String()
				send.Fingerprint = send.Draft.Fingerprint()
				for {
					out, err := appendTo(t, s, tenant, room.ID, send)
					if err == nil {
						confirmed[w][out.Message.ID] = true
						sent.Add(1)
						break
					}
					if !errors.Is(err, domain.ErrUnavailable) && !errors.Is(err, domain.ErrBusy) {
						t.Errorf("a send: %v", err)
						return
					}
					failed.Add(1)
				}
			}
		})
	}
	for range 2 {
		harness.Eventually(t, 30*time.Second, "messages are stored", func() bool { return sent.Load() > 50 })
		harness.Check(t, own.Stop())
		harness.Check(t, own.Start())
		sent.Store(0)
	}
	harness.Eventually(t, 30*time.Second, "messages are stored again", func() bool { return sent.Load() > 50 })
	close(stop)
	all.Wait()
	stored := history(t, s, tenant, room.ID)
	total := 0
	for w := range confirmed {
		total += len(confirmed[w])
		for _, m := range stored {
			delete(confirmed[w], m.ID)
		}
		if len(confirmed[w]) > 0 {
			t.Errorf("%d messages that were confirmed are lost", len(confirmed[w]))
		}
	}
	if len(stored) != total {
		t.Errorf("%d messages are stored, %d were confirmed", len(stored), total)
	}
	for i, m := range stored {
		if m.Seq != int64(i)+1 {
			t.Fatalf("message %d has seq %d", i, m.Seq)
		}
	}
	t.Logf("%d stored, %d sends were told to come again", total, failed.Load())
}
