package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// eventually polls until ok, for a test that waits for another goroutine.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("waited in vain: %s", what)
		}
		runtime.Gosched()
	}
}

// hold keeps the writer busy until release is called, so that what is sent meanwhile becomes one batch.
func hold(tb testing.TB, s *sqlite.Store) (release func()) {
	tb.Helper()
	started, gate := make(chan struct{}), make(chan struct{})
	finished := make(chan error, 1)
	go func() {
		finished <- s.Update(context.Background(), tenant, func(ports.Tx) error {
			close(started)
			<-gate
			return nil
		})
	}()
	<-started
	return sync.OnceFunc(func() {
		close(gate)
		if err := <-finished; err != nil {
			tb.Errorf("the job that held the writer: %v", err)
		}
	})
}

func lastSeq(tb testing.TB, s *sqlite.Store, id domain.RoomID) domain.Room {
	tb.Helper()
	room, err := ports.View(tb.Context(), s, tenant, func(r ports.Reader) (domain.Room, error) {
		room, _, err := r.Access(id, "")
		return room, err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return room
}

func TestJobsThatEndBadlyLeaveTheirBatchAlone(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room := makeRoom(t, s, "alice")
	release := hold(t, s)
	defer release()
	before := s.Stats().Batches
	add := func(user domain.UserID, end func() error) func() {
		return func() {
			err := s.Update(context.Background(), tenant, func(tx ports.Tx) error {
				if _, err := tx.AddMember(room.ID, user, domain.RoleMember, now); err != nil {
					return err
				}
				return end()
			})
			if err != nil && err.Error() != "refused" {
				t.Errorf("%s: %v", user, err)
			}
		}
	}
	jobs := []func(){
		add("good-1", func() error { return nil }),
		add("error", func() error { return errors.New("refused") }),
		add("good-2", func() error { return nil }),
		add("panic", func() error { panic("boom") }),
		add("good-3", func() error { return nil }),
		add("goexit", func() error { runtime.Goexit(); return nil }),
		add("good-4", func() error { return nil }),
	}
	var wg sync.WaitGroup
	ended := make([]any, len(jobs))
	for i, job := range jobs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			returned := false
			defer func() {
				if ended[i] = recover(); ended[i] == nil && !returned {
					ended[i] = "goexit"
				}
			}()
			job()
			returned = true
		}()
		eventually(t, "the job is queued", func() bool { return s.Stats().Queued == i+1 })
	}
	release()
	wg.Wait()
	if want := []any{nil, nil, nil, "boom", nil, "goexit", nil}; fmt.Sprint(ended) != fmt.Sprint(want) {
		t.Errorf("the callers ended with %v, want %v", ended, want)
	}
	if got := s.Stats().Batches - before; got > 3 {
		t.Errorf("%d batches: the jobs did not share one", got)
	}
	members, err := ports.View(t.Context(), s, tenant, func(r ports.Reader) ([]domain.Member, error) {
		return r.Members(room.ID, 0, 100)
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []domain.UserID
	for _, m := range members {
		names = append(names, m.User)
	}
	if want := "[alice good-1 good-2 good-3 good-4]"; fmt.Sprint(names) != want {
		t.Errorf("members %v, want %v", names, want)
	}
	if got := lastSeq(t, s, room.ID); got.LastRev != 5 {
		t.Errorf("last rev %d, want 5: a job that was undone left its number behind", got.LastRev)
	}
}

func TestJobWhoseContextEndsInTheQueueDoesNotRun(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	release := hold(t, s)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	ran := false
	result := make(chan error, 1)
	go func() { result <- s.Update(ctx, tenant, func(ports.Tx) error { ran = true; return nil }) }()
	eventually(t, "the job is queued", func() bool { return s.Stats().Queued == 1 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled, while the writer is still busy", err)
	}
	if queued := s.Stats().Queued; queued != 0 {
		t.Errorf("%d jobs are queued, want none: a removed job holds no place", queued)
	}
	release()
	if err := s.Probe(t.Context()); err != nil || ran {
		t.Errorf("probe %v, ran %v; want nil and false", err, ran)
	}
}

func TestQueueIsBoundedAndNoTenantTakesAllOfIt(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	other := domain.TenantID("tenant_b")
	if err := s.CreateTenant(t.Context(), domain.Tenant{ID: other, Name: "B", CreatedAt: now}); err != nil {
		t.Fatal(err)
	}
	release := hold(t, s)
	defer release()
	results := make(chan error, sqlite.MaxQueued)
	enqueue := func(id domain.TenantID) {
		results <- s.Update(context.Background(), id, func(ports.Tx) error { return nil })
	}
	for range sqlite.MaxTenant {
		go enqueue(tenant)
	}
	eventually(t, "the tenant's share is full", func() bool { return s.Stats().Queued == sqlite.MaxTenant })
	if err := s.Update(t.Context(), tenant, func(ports.Tx) error { return nil }); !errors.Is(err, domain.ErrBusy) {
		t.Errorf("beyond the tenant's share: got %v, want ErrBusy", err)
	}
	for range sqlite.MaxQueued - sqlite.MaxTenant {
		go enqueue(other)
	}
	eventually(t, "the queue is full", func() bool { return s.Stats().Queued == sqlite.MaxQueued })
	if err := s.Probe(t.Context()); !errors.Is(err, domain.ErrBusy) {
		t.Errorf("beyond the queue: got %v, want ErrBusy", err)
	}
	release()
	for range sqlite.MaxQueued {
		if err := <-results; err != nil {
			t.Fatalf("a queued job: %v", err)
		}
	}
	if batches := s.Stats().Batches; batches < sqlite.MaxQueued/sqlite.MaxBatch {
		t.Errorf("%d batches: one held more than %d jobs", batches, sqlite.MaxBatch)
	}
}

func TestBatchThatSQLiteRolledBackFailsAsAWhole(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room := makeRoom(t, s, "alice")
	fill(t, s, room.ID, "alice", 2)
	var told []domain.Event
	s.OnCommit(func(events []domain.Event) { told = append(told, events...) })
	release := hold(t, s)
	defer release()
	results := make(chan error, 3)
	good := func() {
		m := send("alice", "lost")
		_, err := s.Append(context.Background(), tenant, domain.Intent{Room: room.ID, Sender: "alice"}, m.Decide)
		results <- err
	}
	go good()
	eventually(t, "the first job is queued", func() bool { return s.Stats().Queued == 1 })
	go func() {
		results <- s.RunOnWriter(context.Background(), func(exec func(string) error) error {
			if err := exec("ROLLBACK"); err != nil { // what SQLite does by itself after some errors
				return err
			}
			return exec("no such statement")
		})
	}()
	eventually(t, "the second job is queued", func() bool { return s.Stats().Queued == 2 })
	go good()
	eventually(t, "the third job is queued", func() bool { return s.Stats().Queued == 3 })
	release()
	for range 3 {
		if err := <-results; !errors.Is(err, domain.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	}
	if len(told) != 0 {
		t.Errorf("%d events of the lost batch were told", len(told))
	}
	if out := appendTo(t, s, room.ID, send("alice", "next")); out.Message.Seq != 3 || out.Message.Rev != 4 {
		t.Errorf("got seq %d rev %d, want 3 and 4: the lost batch left a gap", out.Message.Seq, out.Message.Rev)
	}
}

func TestErrorThatAClosureSwallowsStillUndoesItsJob(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	err := s.OnWriter(t.Context(), func(exec func(string) error) error {
		if err := exec("INSERT INTO store_meta VALUES ('half', 'done')"); err != nil {
			return err
		}
		_ = exec("INSERT INTO store_meta VALUES ('half', 'done')")
		return nil
	})
	if err == nil {
		t.Error("the job was kept")
	}
	err = s.OnWriter(t.Context(), func(exec func(string) error) error {
		return exec("INSERT INTO store_meta VALUES ('half', 'done')")
	})
	if err != nil {
		t.Errorf("its first write was kept: %v", err)
	}
}

func TestFullStoreRefusesAndHealsByItself(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room := makeRoom(t, s, "alice")
	fill(t, s, room.ID, "alice", 3)
	limit := func(pages string) {
		err := s.RunOnWriter(t.Context(), func(exec func(string) error) error { return exec("PRAGMA max_page_count = " + pages) })
		if err != nil {
			t.Fatal(err)
		}
	}
	limit("1") // SQLite takes it as: no more than there are now
	big := send("alice", string(make([]byte, 40_000)))
	in := domain.Intent{Room: room.ID, Sender: "alice"}
	for range 3 {
		if _, err := s.Append(t.Context(), tenant, in, big.Decide); !errors.Is(err, domain.ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
	}
	if got := lastSeq(t, s, room.ID); got.LastSeq != 3 {
		t.Errorf("last seq %d while full, want 3", got.LastSeq)
	}
	limit("1000000")
	out, err := s.Append(t.Context(), tenant, in, big.Decide)
	if err != nil || out.Message.Seq != 4 {
		t.Errorf("after healing: seq %d, %v; want 4", out.Message.Seq, err)
	}
}

func TestCloseFinishesWhatIsQueued(t *testing.T) {
	t.Parallel()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	s, err := sqlite.Open(t.Context(), sqlite.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	makeTenant(t, s)
	room := makeRoom(t, s, "alice")
	release := hold(t, s)
	defer release()
	const n = 100
	results := make(chan error, n)
	for range n {
		go func() {
			m := send("alice", "before the end")
			_, err := s.Append(context.Background(), tenant, domain.Intent{Room: room.ID, Sender: "alice"}, m.Decide)
			results <- err
		}()
	}
	eventually(t, "the messages are queued", func() bool { return s.Stats().Queued == n })
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	eventually(t, "the store refuses", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // a probe that is queued would wait for release
		defer cancel()
		return errors.Is(s.Probe(ctx), domain.ErrClosing)
	})
	release()
	for range n {
		if err := <-results; err != nil {
			t.Fatalf("a queued message: %v", err)
		}
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := s.View(t.Context(), tenant, func(ports.Reader) error { return nil }); !errors.Is(err, domain.ErrClosing) {
		t.Errorf("a view after Close: %v, want ErrClosing", err)
	}
	if info, err := os.Stat(dsn + "-wal"); err == nil && info.Size() > 0 {
		t.Errorf("the write-ahead log has %d bytes after Close", info.Size())
	}
	again := openStore(t, sqlite.Config{DSN: dsn})
	if got := lastSeq(t, again, room.ID); got.LastSeq != n {
		t.Errorf("last seq %d, want %d", got.LastSeq, n)
	}
}

func TestReaderIsOfNoUseAfterItsUnitOfWork(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room := makeRoom(t, s, "alice")
	var kept ports.Reader
	if err := s.View(t.Context(), tenant, func(r ports.Reader) error { kept = r; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kept.Access(room.ID, "alice"); err == nil {
		t.Error("a Reader was usable after its view")
	}
	if err := s.Update(t.Context(), tenant, func(tx ports.Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Members(room.ID, 0, 10); err == nil {
		t.Error("a Tx was usable after its job")
	}
}

func TestViewThatPanicsGivesItsConnectionBack(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	for range 50 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = s.View(t.Context(), tenant, func(ports.Reader) error { panic("boom") })
		}()
	}
	if err := s.View(t.Context(), tenant, func(ports.Reader) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestWriteAheadLogStaysBoundedUnderLoad(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room := makeRoom(t, s, "alice")
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { // snapshots that overlap without a pause: one always needs the log
			for ctx.Err() == nil {
				opened := time.Now()
				err := s.View(context.Background(), tenant, func(r ports.Reader) error {
					for time.Since(opened) < 20*time.Millisecond {
						if _, err := r.MessagesBefore(room.ID, 1<<30, 1); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	const senders, each = 16, 375
	content := string(make([]byte, 16_000)) // 96 MB in all
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for range each {
				m := send("alice", content)
				_, err := s.Append(context.Background(), tenant, domain.Intent{Room: room.ID, Sender: "alice"}, m.Decide)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	sending.Wait()
	largest := s.Stats().WALBytes // the file does not shrink while it is below the bound
	stop()
	wg.Wait()
	if bound := int64(64 << 20); largest > bound {
		t.Errorf("the write-ahead log grew to %d bytes, want at most %d", largest, bound)
	}
	if s.Stats().Checkpoints == 0 {
		t.Error("no checkpoint was made")
	}
}
