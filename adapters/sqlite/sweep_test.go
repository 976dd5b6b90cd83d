package sqlite_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// clock is a clock that a test sets.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func TestExpiredIdempotencyKeysAreSweptInSteps(t *testing.T) {
	t.Parallel()
	s := openStore(t, sqlite.Config{Clock: &clock{now.Add(25 * time.Hour)}})
	makeTenant(t, s)
	const old, fresh = 1100, 3
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		for i := range old + fresh {
			at := now
			if i >= old {
				at = now.Add(30 * time.Minute) // expired, but less than an hour ago
			}
			key := domain.Idempotency{User: "alice", Key: [32]byte{byte(i), byte(i >> 8)}}
			if err := tx.KeepIdempotency(key, 201, "room", at); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []bool{true, true, false, false} {
		if got, err := s.Sweep(t.Context()); err != nil || got != more {
			t.Errorf("swept: more %v, %v; want %v", got, err, more)
		}
	}
	left := 0
	for i := range old + fresh {
		found, err := ports.View(t.Context(), s, tenant, func(r ports.Reader) (*domain.IdempotencyRecord, error) {
			return r.Idempotency("alice", [32]byte{byte(i), byte(i >> 8)}, now)
		})
		if err != nil {
			t.Fatal(err)
		}
		if found != nil {
			left++
		}
	}
	if left != fresh {
		t.Errorf("%d keys are left, want %d", left, fresh)
	}
}

func TestForgottenDevicesAreSweptInSteps(t *testing.T) {
	t.Parallel()
	at := &clock{now}
	s := openStore(t, sqlite.Config{Clock: at})
	makeTenant(t, s)
	const rooms = 300
	for range rooms {
		room := makeRoom(t, s, "alice")
		err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			_, e1 := tx.RaiseMark(room.ID, "alice", "old", domain.Mark{DeliveredSeq: 1})
			_, e2 := tx.RaiseMark(room.ID, "alice", "older", domain.Mark{DeliveredSeq: 2})
			return errors.Join(e1, e2)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	see(t, s, "young", now.Add(time.Hour))
	release := hold(t, s)
	at.now = now.Add(domain.DeviceMemory * time.Hour)
	release()
	for _, more := range []bool{true, false, false} {
		if got, err := s.Sweep(t.Context()); err != nil || got != more {
			t.Errorf("swept: more %v, %v; want %v", got, err, more)
		}
	}
	if marks, devices := count(t, s, "SELECT count(*) FROM marks WHERE device <> 'young'"),
		count(t, s, "SELECT count(*) FROM devices"); marks != 0 || devices != 1 {
		t.Errorf("%d marks and %d devices are left, want those of one device", marks, devices)
	}
}

func TestDeviceThatOnlyConfirmsIsNotForgotten(t *testing.T) {
	t.Parallel()
	at := &clock{now}
	s := openStore(t, sqlite.Config{Clock: at})
	makeTenant(t, s)
	room := makeRoom(t, s, "alice")
	for day := range 3 {
		release := hold(t, s)
		at.now = now.Add(time.Duration(day) * domain.DeviceMemory / 2 * time.Hour)
		release()
		err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			_, err := tx.RaiseMark(room.ID, "alice", "phone", domain.Mark{DeliveredSeq: int64(day)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := count(t, s, "SELECT count(*) FROM devices"); got != 1 {
		t.Errorf("%d devices are left, want the one in use", got)
	}
}

func TestMarksAreBoundedHoweverManyDevicesConfirm(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room, other := makeRoom(t, s, "alice", "bob"), makeRoom(t, s, "alice")
	see(t, s, "first", now)
	for i := range int64(60) {
		device := domain.DeviceID(fmt.Sprint("device ", i))
		err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			_, e1 := tx.RaiseMark(room.ID, "alice", device, domain.Mark{DeliveredSeq: i})
			_, e2 := tx.RaiseMark(other.ID, "alice", device, domain.Mark{DeliveredSeq: i + 1})
			return errors.Join(e1, e2)
		})
		if err != nil {
			t.Fatal(err)
		}
		most := count(t, s, "SELECT coalesce(max(n), 0) FROM (SELECT count(*) n FROM marks GROUP BY user, room)")
		if devices := count(t, s, "SELECT count(*) FROM devices"); max(most, devices) > domain.MaxDevicesPerUser {
			t.Fatalf("%d marks in a room of %d devices after %d, want at most %d", most, devices, i+2, domain.MaxDevicesPerUser)
		}
	}
	if got := count(t, s, `SELECT count(*) FROM marks k
		WHERE NOT EXISTS (SELECT 1 FROM devices d WHERE d.user = k.user AND d.device = k.device)`); got != 0 {
		t.Errorf("%d marks are of devices that are not known", got)
	}
}

func TestSweepThatCannotBeCommittedIsNotRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	s := openStore(t, sqlite.Config{Clock: &clock{now.Add(48 * time.Hour)}})
	makeTenant(t, s)
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		for i := range 600 {
			key := domain.Idempotency{User: "alice", Key: [32]byte{byte(i), byte(i >> 8)}}
			if err := tx.KeepIdempotency(key, 201, "room", now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.OnWriter(t.Context(), func(exec func(string) error) error { // a removal of keys makes the commit fail
		return errors.Join(
			exec("CREATE TABLE orphans (tenant INTEGER REFERENCES tenants (number) DEFERRABLE INITIALLY DEFERRED)"),
			exec("CREATE TRIGGER orphan AFTER DELETE ON idempotency BEGIN INSERT INTO orphans VALUES (999); END"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DueSweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for range 20 {
		if err := s.Probe(t.Context()); errors.Is(err, domain.ErrUnavailable) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if failed > 1 {
		t.Errorf("%d of 20 writes failed beside the sweep, want at most that of its first try", failed)
	}
	if got := count(t, s, "SELECT count(*) FROM idempotency"); got != 600 {
		t.Errorf("%d keys are left, want 600: the commit did not fail", got)
	}
}

func see(t *testing.T, s *sqlite.Store, device domain.DeviceID, at time.Time) {
	t.Helper()
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error { return tx.SeeDevice("alice", device, 0, at) })
	if err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, s *sqlite.Store, query string) int64 {
	t.Helper()
	n, err := s.Count(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
