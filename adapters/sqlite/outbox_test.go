package sqlite_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// call is a send by a tenant that has a webhook: it has a job.
func call(user domain.UserID, content string) domain.Send {
	s := send(user, content)
	s.Webhook = true
	return s
}

// webhooks claims up to limit jobs, 8 at a time of one tenant.
func webhooks(limit int) ports.ClaimQuery {
	return ports.ClaimQuery{Lane: domain.LaneWebhook, Limit: limit, PerTenant: 8, Lease: time.Minute}
}

func newLetter(job domain.Job) domain.DeadLetter {
	return domain.DeadLetter{ID: domain.DeadLetterID(uuid()), Job: job, Error: "http 500", At: now}
}

// newRun is a run of messages that bob has not acknowledged.
func newRun(room domain.RoomID) domain.DeadLetter {
	letter := newLetter(domain.Job{Lane: domain.LaneSocket, Room: room})
	letter.User = "bob"
	return letter
}

// useOutbox makes the store prepare every statement that the outbox has.
func useOutbox(t *testing.T, s *sqlite.Store, room domain.RoomID) {
	t.Helper()
	ctx := t.Context()
	appendTo(t, s, room, call("alice", "one"))
	letter := newLetter(domain.Job{Lane: domain.LaneWebhook, Room: room})
	err := s.Update(ctx, tenant, func(tx ports.Tx) error {
		var jobs []error
		for range 4 {
			jobs = append(jobs, tx.Enqueue(domain.Job{ID: domain.JobID(uuid()), Lane: domain.LaneWebhook, Due: now, CreatedAt: now}))
		}
		e1, e2 := tx.AddDeadLetter(letter), tx.AddDeadLetter(newLetter(letter.Job))
		_, e3 := tx.TakeDeadLetter(letter.ID)
		_, e4 := tx.DeadLetters(false, 10)
		_, e5 := tx.DeadLetters(true, 10)
		return firstError(append(jobs, e1, e2, e3, e4, e5, tx.GrowDeadLetter(newRun(room)), tx.GrowDeadLetter(newRun(room)))...)
	})
	claims, _, e1 := s.Claim(ctx, webhooks(2))
	if len(claims) != 2 {
		t.Fatalf("%d jobs were claimed, want 2", len(claims))
	}
	aged := webhooks(1)
	aged.Except, aged.Life = []domain.TenantID{tenant}, time.Nanosecond
	if more, _, err := s.Claim(ctx, aged); err != nil || len(more) != 1 {
		t.Fatalf("%d jobs of a tenant that is left out were claimed, want 1; %v", len(more), err)
	}
	letter = newLetter(claims[0].Job)
	lost, e2 := s.Settle(ctx, []ports.Settlement{{Claim: claims[0], Dead: &letter}, {Claim: claims[1], Again: &claims[1].Job}})
	_, e3 := s.OutboxStats(ctx)
	e4 := s.View(ctx, tenant, func(r ports.Reader) error {
		_, e1 := r.DeadLetters(false, 10)
		_, e2 := r.DeadLetters(true, 10)
		_, _, e3 := r.Recipients(room, domain.Message{Seq: 1}, "", "", 10)
		return firstError(e1, e2, e3)
	})
	e5 := s.OnWriter(ctx, func(exec func(string) error) error {
		return exec("UPDATE tenants SET dead_letters = " + strconv.Itoa(domain.DeadLettersKept) + " WHERE number = 1") // the next displaces the oldest
	})
	e6 := s.Update(ctx, tenant, func(tx ports.Tx) error { return tx.AddDeadLetter(newLetter(letter.Job)) })
	if err := firstError(err, e1, e2, e3, e4, e5, e6); err != nil || len(lost) > 0 {
		t.Fatalf("%v, lost %v", err, lost)
	}
}

// plansOfOutbox are, by a part of each statement that looks for jobs or dead letters, the ways to go about it.
var plansOfOutbox = map[string][]string{
	"WHERE lane = ?1 AND tenant = ?2 AND ready <= ?3\n": {"SEARCH outbox USING INDEX outbox_ready (lane=? AND tenant=? AND ready<?)"},
	"AND created <= ?3 - ?5":                            {"SEARCH outbox USING INDEX outbox_age (lane=? AND tenant=? AND created<?)"},
	"UPDATE outbox SET step":                            {"SEARCH outbox USING PRIMARY KEY (tenant=? AND id=?)"},
	"UPDATE outbox SET ready = ?, fence = ?":            {"SEARCH outbox USING PRIMARY KEY (tenant=? AND id=?)"},
	"DELETE FROM outbox WHERE tenant = ? AND id = ?":    {"SEARCH outbox USING PRIMARY KEY (tenant=? AND id=?)"},
	"FROM dead_letters WHERE tenant = ? AND notification IS NULL": {
		"SEARCH dead_letters USING INDEX dead_letters_messages (tenant=?)",
	},
	"FROM dead_letters WHERE tenant = ? AND notification IS NOT NULL": {
		"SEARCH dead_letters USING INDEX dead_letters_notifications (tenant=?)",
	},
	"FROM dead_letters WHERE tenant = ? AND user = ? AND room = ?": {
		"SEARCH dead_letters USING INDEX dead_letters_run (tenant=? AND user=? AND room=?)",
	},
	"FROM dead_letters WHERE tenant = ? AND id = ?": {
		"SEARCH dead_letters USING INDEX sqlite_autoindex_dead_letters_1 (tenant=? AND id=?)",
	},
	"FROM dead_letters WHERE at <= ? ORDER BY at": {"SEARCH dead_letters USING INDEX dead_letters_at (at<?)"},
	"FROM dead_letters WHERE number = coalesce": {
		"SEARCH dead_letters USING INTEGER PRIMARY KEY (rowid=?)",
		"SEARCH dead_letters USING INDEX dead_letters_runs (tenant=?)",
		"SEARCH dead_letters USING INDEX dead_letters_messages (tenant=?)",
		"SEARCH dead_letters USING INDEX dead_letters_notifications (tenant=?)",
	},
	"max(created + ?4, ready)": {
		"SEARCH outbox USING INDEX outbox_age (lane=? AND tenant=?)",
		"SEARCH outbox USING INDEX outbox_held (lane=? AND tenant=? AND ready>?)",
	},
}

func TestPlansOfTheOutboxUseTheIndexMadeForThem(t *testing.T) {
	t.Parallel()
	plans := useEverything(t).Plans()
	for part, want := range plansOfOutbox {
		seen := 0
		for query, plan := range plans {
			if !strings.Contains(query, part) {
				continue
			}
			seen++
			if got := steps(plan, "outbox", "dead_letters"); !slices.Equal(got, want) {
				t.Errorf("%q goes by\n%q, want\n%q", query, got, want)
			}
		}
		if seen == 0 {
			t.Errorf("no statement has %q", part)
		}
	}
	for query, plan := range plans {
		for _, step := range steps(plan, "outbox") {
			if strings.Contains(query, "WITH RECURSIVE turn") && !strings.Contains(step, "COVERING INDEX") {
				t.Errorf("%q reads rows: %s", query, step)
			}
		}
	}
}

// steps are those of a plan that look into a table.
func steps(plan []string, tables ...string) (of []string) {
	for _, step := range plan {
		for _, table := range tables {
			if strings.HasPrefix(step, "SEARCH "+table+" ") || strings.HasPrefix(step, "SCAN "+table) {
				of = append(of, step)
			}
		}
	}
	return of
}

func TestOnlyWhatGoesByTheStoresTimeWritesItDown(t *testing.T) {
	t.Parallel()
	const written = "SELECT now FROM outbox_state"
	at := &elapsed{}
	s := openStore(t, sqlite.Config{Clock: &clock{now}, Elapsed: at.get})
	makeTenant(t, s)
	room := makeRoom(t, s, "alice")
	fill(t, s, room.ID, "alice", 3)
	if got := count(t, s, written); got != 0 {
		t.Errorf("%d was written for messages without jobs", got)
	}
	for _, step := range []struct{ passed, want time.Duration }{
		{time.Second, time.Second}, {10*time.Second + 999*time.Millisecond, time.Second}, {11 * time.Second, 11 * time.Second},
		{time.Hour, time.Hour},
	} {
		at.set(step.passed)
		appendTo(t, s, room.ID, call("alice", "hello"))
		if got := time.UnixMilli(count(t, s, written)); !got.Equal(now.Add(step.want)) {
			t.Errorf("after %v, %v is written, want %v", step.passed, got, now.Add(step.want))
		}
	}
}

// elapsed is the time that a test lets pass.
type elapsed struct{ ns atomic.Int64 }

func (e *elapsed) get() time.Duration  { return time.Duration(e.ns.Load()) }
func (e *elapsed) set(d time.Duration) { e.ns.Store(int64(d)) }

func TestClaimOfNothingLeavesTheWriterAlone(t *testing.T) {
	t.Parallel()
	s := openStore(t, sqlite.Config{Clock: &clock{now}, Elapsed: func() time.Duration { return 0 }})
	makeTenant(t, s)
	appendTo(t, s, makeRoom(t, s, "alice").ID, call("alice", "hello"))
	before := s.Stats().Batches
	for range 10 {
		if claims, next, err := s.Claim(t.Context(), webhooks(8)); err != nil || len(claims) > 0 || next <= domain.PresenceGrace || next > 2*domain.PresenceGrace {
			t.Fatalf("%d claims, %v, %v", len(claims), next, err)
		}
	}
	if got := s.Stats().Batches - before; got != 0 {
		t.Errorf("%d batches, want none", got)
	}
}

func TestAMessageIsOneRowOfTheOutboxHoweverManyMembers(t *testing.T) {
	t.Parallel()
	const members = 10_000
	s := withTenant(t)
	room := makeRoom(t, s, "alice")
	err := s.OnWriter(t.Context(), func(exec func(string) error) error {
		const numbers = "WITH RECURSIVE n (i) AS (SELECT 101 UNION ALL SELECT i + 1 FROM n WHERE i < 10100) "
		return firstError(
			exec(numbers+"INSERT INTO users (number, tenant, id, user_rev) SELECT i, 1, 'user ' || i, 1 FROM n"),
			exec(numbers+`INSERT INTO members (room, user, role, state, joined_at, place, joined_seq, joined_rev, user_rev)
				SELECT r.number, i, 'member', 1, 1, i, 0, 0, 1 FROM n, rooms r`))
	})
	if err != nil {
		t.Fatal(err)
	}
	before := count(t, s, "SELECT total_changes()")
	sent := appendTo(t, s, room.ID, call("alice", "hello")).Message
	if got := count(t, s, "SELECT total_changes()") - before; got > 5 {
		t.Errorf("the message changed %d rows, want itself, its job, the room, and the store's time", got)
	}
	if got := count(t, s, "SELECT count(*) FROM outbox"); got != 1 {
		t.Errorf("%d rows in the outbox, want 1", got)
	}
	told, calls := 0, 0
	err = s.View(t.Context(), tenant, func(r ports.Reader) error {
		for after := ""; ; calls++ {
			users, through, err := r.Recipients(room.ID, sent, after, "", domain.MaxWebhookRecipients)
			if err != nil || through == "" {
				return err
			}
			if len(users) > domain.MaxWebhookRecipients {
				t.Fatalf("a call tells %d users", len(users))
			}
			told, after = told+len(users), through
		}
	})
	if err != nil || told != members || calls != members/domain.MaxWebhookRecipients+1 {
		t.Errorf("%d members are told in %d calls, %v", told, calls, err)
	}
}

// TestCountOfDeadLettersIsRight has them come and go in every way there is: the count is what bounds them.
func TestCountOfDeadLettersIsRight(t *testing.T) {
	t.Parallel()
	at := &clock{now}
	s := openStore(t, sqlite.Config{Clock: at})
	makeTenant(t, s)
	gone, room := makeRoom(t, s, "alice"), makeRoom(t, s, "alice")
	isRight := func(when string, want int64) {
		t.Helper()
		counted, are := count(t, s, "SELECT dead_letters FROM tenants"), count(t, s, "SELECT count(*) FROM dead_letters")
		if counted != want || are != want {
			t.Errorf("%s %d are counted and %d are there, want %d", when, counted, are, want)
		}
	}
	update := func(fn func(tx ports.Tx) error) {
		t.Helper()
		if err := s.Update(t.Context(), tenant, fn); err != nil {
			t.Fatal(err)
		}
	}
	letter := newLetter(domain.Job{Lane: domain.LaneWebhook, Room: room.ID})
	update(func(tx ports.Tx) error {
		var errs []error
		for range 700 {
			errs = append(errs, tx.AddDeadLetter(newLetter(domain.Job{Lane: domain.LaneWebhook, Room: gone.ID})))
		}
		return firstError(append(errs, tx.AddDeadLetter(letter), tx.GrowDeadLetter(newRun(room.ID)), tx.GrowDeadLetter(newRun(room.ID)))...)
	})
	isRight("at first", 702)
	failed := errors.New("rolled back")
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		_, err := tx.TakeDeadLetter(letter.ID)
		return firstError(err, tx.AddDeadLetter(newLetter(letter.Job)), tx.AddDeadLetter(newLetter(letter.Job)), failed)
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	isRight("after a rollback", 702)
	update(func(tx ports.Tx) error { return tx.RemoveRoom(gone.ID, now) })
	purgeAll(t, s)
	isRight("without the removed room's", 2)
	update(func(tx ports.Tx) error {
		_, err := tx.TakeDeadLetter(letter.ID)
		return err
	})
	isRight("when one was taken", 1)
	update(func(tx ports.Tx) error {
		var errs []error
		for range 400 {
			errs = append(errs, tx.AddDeadLetter(newLetter(domain.Job{Lane: domain.LaneNotification, Notification: domain.NotificationID(uuid())})))
		}
		return firstError(errs...)
	})
	isRight("with those of notifications", 401)
	release := hold(t, s)
	at.now = now.Add(domain.DeadLetterMemory)
	release()
	purgeAll(t, s)
	isRight("after their time", 0)
}

func TestDeadLettersOfARoomGoWithItsTombstoneAtLast(t *testing.T) {
	t.Parallel()
	at := &clock{now}
	s := openStore(t, sqlite.Config{Clock: at})
	makeTenant(t, s)
	room := makeRoom(t, s, "alice")
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error { return tx.RemoveRoom(room.ID, now) })
	if err != nil {
		t.Fatal(err)
	}
	purge := func() {
		t.Helper()
		if more, err := s.Purge(t.Context()); err != nil || more {
			t.Fatalf("purge: more %v, %v", more, err)
		}
	}
	purge()
	err = s.Update(t.Context(), tenant, func(tx ports.Tx) error { // what a worker had in hand while the room was removed
		job := domain.Job{ID: domain.JobID(uuid()), Lane: domain.LaneWebhook, Room: room.ID, Due: now, CreatedAt: now}
		return firstError(tx.Enqueue(job), tx.AddDeadLetter(newLetter(job)))
	})
	if err != nil {
		t.Fatal(err)
	}
	purge()
	release := hold(t, s)
	at.now = now.Add(domain.DeviceMemory * time.Hour)
	release()
	purge()
	for _, table := range []string{"outbox", "dead_letters", "rooms", "members"} {
		if got := count(t, s, "SELECT count(*) FROM "+table); got != 0 {
			t.Errorf("%d rows of %s are left", got, table)
		}
	}
}

// TestFailedCommitClaimsNothing has a commit fail that holds a claim and a settlement.
func TestFailedCommitClaimsNothing(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	addJobs(t, s, tenant, 2, now)
	held, _, err := s.Claim(t.Context(), webhooks(1))
	if err != nil {
		t.Fatal(err)
	}
	err = s.OnWriter(t.Context(), func(exec func(string) error) error {
		return errors.Join(
			exec("CREATE TABLE orphans (tenant INTEGER REFERENCES tenants (number) DEFERRABLE INITIALLY DEFERRED)"),
			exec("CREATE TRIGGER orphan AFTER UPDATE ON outbox BEGIN INSERT INTO orphans VALUES (999); END"),
			exec("CREATE TRIGGER orphan2 AFTER DELETE ON outbox BEGIN INSERT INTO orphans VALUES (999); END"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if claims, _, err := s.Claim(t.Context(), webhooks(1)); !errors.Is(err, domain.ErrUnavailable) || len(claims) > 0 {
		t.Errorf("%d claims, %v, want ErrUnavailable", len(claims), err)
	}
	if lost, err := s.Settle(t.Context(), []ports.Settlement{{Claim: held[0]}}); !errors.Is(err, domain.ErrUnavailable) || len(lost) > 0 {
		t.Errorf("lost %v, %v, want ErrUnavailable", lost, err)
	}
	err = s.OnWriter(t.Context(), func(exec func(string) error) error {
		return errors.Join(exec("DROP TRIGGER orphan"), exec("DROP TRIGGER orphan2"))
	})
	if err != nil {
		t.Fatal(err)
	}
	claims, _, err := s.Claim(t.Context(), webhooks(8))
	if err != nil || len(claims) != 1 || claims[0].ID == held[0].ID {
		t.Errorf("%d claims, %v, want the job that was not held", len(claims), err)
	}
	if lost, err := s.Settle(t.Context(), []ports.Settlement{{Claim: held[0]}}); err != nil || len(lost) > 0 {
		t.Errorf("lost %v, %v, want the claim to stand", lost, err)
	}
}

func TestOpenEndsTheLeasesOfAProcessThatIsNoMore(t *testing.T) {
	t.Parallel()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	s := openStore(t, sqlite.Config{DSN: dsn})
	makeTenant(t, s)
	addJobs(t, s, tenant, 3, now)
	addJobs(t, s, tenant, 1, time.Now().Add(time.Hour))
	stale, _, err := s.Claim(t.Context(), webhooks(3))
	if err != nil || len(stale) != 3 {
		t.Fatalf("%d claims, %v", len(stale), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, sqlite.Config{DSN: dsn})
	if lost, err := again.Settle(t.Context(), []ports.Settlement{{Claim: stale[0]}}); err != nil || len(lost) != 1 {
		t.Errorf("lost %v, %v, want the claim made before", lost, err)
	}
	claims, _, err := again.Claim(t.Context(), webhooks(8))
	if err != nil || len(claims) != 3 || claims[0].ID != stale[0].ID || claims[0].Fence <= stale[0].Fence {
		t.Errorf("%d claims, %v, want those made before, with a higher fence", len(claims), err)
	}
}

func TestPurgeOfATenantLeavesNoCalls(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	addJobs(t, s, tenant, 700, now)
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		var errs []error
		for range 700 {
			errs = append(errs, tx.AddDeadLetter(newLetter(domain.Job{Lane: domain.LaneWebhook})))
		}
		return errors.Join(errs...)
	})
	if err == nil {
		err = s.DeleteTenant(t.Context(), tenant, now)
	}
	if err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		before := count(t, s, "SELECT total_changes()")
		if more, err = s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rows := count(t, s, "SELECT total_changes()") - before; rows > 500 {
			t.Errorf("a step changed %d rows, want at most 500", rows)
		}
	}
	for _, table := range []string{"outbox", "dead_letters", "tenants"} {
		if got := count(t, s, "SELECT count(*) FROM "+table); got != 0 {
			t.Errorf("%d rows of %s are left", got, table)
		}
	}
}
