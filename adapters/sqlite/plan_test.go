package sqlite_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// useEverything makes the store prepare every statement it has.
func useEverything(t *testing.T) interface {
	Plans() map[string][]string
} {
	t.Helper()
	clock := &clock{now}
	s := openStore(t, sqlite.Config{Clock: clock})
	makeTenant(t, s)
	ctx := t.Context()
	room, gone := makeRoom(t, s, "alice", "bob"), makeRoom(t, s, "alice")
	m := send("alice", "hello")
	m.Draft.ClientID, m.Fingerprint = "c1", m.Draft.Fingerprint()
	first := appendTo(t, s, room.ID, m)
	appendTo(t, s, room.ID, m)
	reply := send("bob", "again")
	reply.ReplyTo = first.Message.ID
	key := &domain.Idempotency{User: "bob", Key: [32]byte{1}, Request: [32]byte{2}}
	in := domain.Intent{Room: room.ID, Sender: "bob", ReplyTo: reply.ReplyTo, Idempotency: key}
	reading := func(r ports.Reader) error {
		_, _, err := r.Access(room.ID, "alice")
		for _, q := range []domain.RoomQuery{
			{Limit: 10}, {User: "alice", Limit: 10}, {User: "alice", Open: true, Limit: 10},
			{Type: domain.RoomChat, Limit: 10}, {User: "alice", Type: domain.RoomChat, Limit: 10}, {User: "alice", Chats: true, Limit: 10},
			{Type: domain.RoomGroup, Limit: 10}, {User: "alice", Type: domain.RoomGroup, Limit: 10},
		} {
			_, e := r.Rooms(q)
			err = firstError(err, e)
		}
		for _, backwards := range []bool{false, true} {
			_, _, e := r.RoomsByKey(ports.KeyQuery{Prefix: "chat:alice:", Backwards: backwards, Limit: 10})
			err = firstError(err, e)
		}
		_, e1 := r.Members(room.ID, 0, 10)
		_, e2 := r.MessagesAfter(room.ID, 0, 10)
		_, e3 := r.MessagesBefore(room.ID, 10, 10)
		_, e4 := r.Message(room.ID, first.Message.ID)
		_, e5 := r.Places("alice", "phone")
		_, e6 := r.Events(ports.EventQuery{Room: room.ID, After: 1, Limit: 10})
		_, latest := r.Events(ports.EventQuery{Room: room.ID, After: 1, Latest: true, Limit: 10})
		_, e7 := r.Positions([]domain.RoomID{room.ID})
		_, e7b := r.RemovedAt(room.ID)
		e7 = firstError(e7, e7b)
		_, e8 := r.Idempotency("bob", key.Key, now)
		_, e9 := r.SeqAt(room.ID, 1)
		_, _ = r.RoomByKey("none")
		_, e10 := r.User("alice")
		_, e11 := r.RoomMates("alice", []domain.UserID{"bob"})
		_, e12 := r.RoomMates("", []domain.UserID{"bob"})
		_, e13 := r.SmallRooms("alice", 100)
		_, _, e14 := r.Succession(room.ID, "alice")
		return firstError(err, e1, e2, e3, e4, e5, e6, latest, e7, e8, e9, e10, e11, e12, e13, e14)
	}
	for range 2 {
		if _, err := s.Append(ctx, tenant, in, reply.Decide); err != nil {
			t.Fatal(err)
		}
		if err := s.View(ctx, tenant, reading); err != nil {
			t.Fatal(err)
		}
	}
	err := s.Update(ctx, tenant, func(tx ports.Tx) error {
		_, e1 := tx.AddMember(room.ID, "carol", domain.RoleMember, now)
		_, e2 := tx.SetRole(room.ID, "carol", domain.RoleAdmin, now)
		_, e3 := tx.RemoveMember(room.ID, "carol", now)
		e4 := errors.Join(tx.SeeDevice("alice", "old", 1, now.AddDate(-30, 0, 0)), tx.SeeDevice("alice", "phone", 1, now))
		_, e5 := tx.RaiseMark(room.ID, "alice", "phone", domain.Mark{DeliveredSeq: 1})
		_, e6 := tx.RaiseRead(room.ID, "alice", 1)
		_, e7 := tx.EditMessage(domain.Message{ID: first.Message.ID, Room: room.ID, Content: "edited", EditedAt: now})
		_, e8 := tx.DeleteMessage(domain.Message{ID: first.Message.ID, Room: room.ID, DeletedAt: now})
		_, e9 := tx.UpdateRoom(room, now)
		e10 := errors.Join(tx.PutUser(domain.User{ID: "alice"}), tx.SawUsers([]domain.UserID{"alice"}, now))
		e11 := tx.RemoveRoom(gone.ID, now)
		return firstError(reading(tx), e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11)
	})
	useOutbox(t, s, room.ID)
	useNotifications(t, s, room.ID)
	see(t, s, "old", now.AddDate(-30, 0, 0))
	_, e12 := s.Sweep(ctx)
	api := ports.NewKey{Key: domain.Key{ID: "key_1", Kind: domain.APIKey, Tenant: tenant, CreatedAt: now}}
	sign := ports.NewKey{Key: domain.Key{ID: "kid_1", Kind: domain.SigningKey, Tenant: tenant, CreatedAt: now}}
	_, e1 := s.Tenants(ctx, 0, 10)
	e2, e3 := s.AddKey(ctx, api), s.AddKey(ctx, sign)
	_, e4 := s.APIKey(ctx, api.Hash)
	_, _, e5 := s.SigningKey(ctx, "kid_1")
	_, e6 := s.KeysOf(ctx, tenant)
	e7 := s.TouchKeys(ctx, map[string]time.Time{"key_1": now})
	e8 := s.RevokeKey(ctx, tenant, domain.APIKey, "key_1", now)
	_, e9 := s.UpdateTenant(ctx, tenant, func(t domain.Tenant) (domain.Tenant, error) { return t, nil })
	_, e13 := s.Purge(ctx)
	e14 := s.AddUsage(ctx, map[domain.TenantID]domain.Usage{tenant: {Month: "2026-03", Messages: 1}})
	_, e15 := s.Usage(ctx, tenant, 10)
	clock.now = clock.now.Add(domain.DeviceMemory * time.Hour)
	_, e16 := s.Purge(ctx)
	e10 := s.DeleteTenant(ctx, tenant, now)
	_, e11 := s.Purge(ctx)
	if err := firstError(err, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13, e14, e15, e16, s.Probe(ctx)); err != nil {
		t.Fatal(err)
	}
	plans, err := s.Plans(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return planned(plans)
}

type planned map[string][]string

func (p planned) Plans() map[string][]string { return p }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestNoStatementScansATable(t *testing.T) {
	t.Parallel()
	plans := useEverything(t).Plans()
	if len(plans) < 80 {
		t.Errorf("only %d statements were looked at", len(plans))
	}
	for query, plan := range plans {
		for _, step := range plan {
			if scans(step) {
				t.Errorf("%q scans: %s", query, step)
			}
			if (strings.Contains(step, "rooms_native") || strings.Contains(step, "rooms_chats")) && strings.Contains(query, "JOIN") {
				t.Errorf("%q walks all rooms of the tenant: %s", query, step)
			}
			if step == "SEARCH marks USING PRIMARY KEY (user=?)" {
				t.Errorf("%q walks all marks of a user: %s", query, step)
			}
			if sorts(step, query) {
				t.Errorf("%q sorts: %s", query, step)
			}
		}
	}
}

func TestEveryLimitIsAnExpression(t *testing.T) {
	t.Parallel()
	for query := range useEverything(t).Plans() {
		if strings.Contains(query, "LIMIT ?") {
			t.Errorf("%q is planned anew at every run: say LIMIT 0 + ?", query)
		}
	}
}

// scans reports a walk over a whole table: only the list of all tenants is one, along its index, and that of the jobs in
// hand when the store is opened. turn is what a walk from tenant to tenant has found.
func scans(step string) bool {
	if !strings.HasPrefix(step, "SCAN ") {
		return false
	}
	if step == "SCAN p" || step == "SCAN theirs" { // a subquery with a limit
		return false
	}
	for _, harmless := range []string{"CONSTANT ROW", "VIRTUAL TABLE", "(subquery", "INDEX tenants_", "INDEX outbox_held", "SCAN turn"} {
		if strings.Contains(step, harmless) {
			return false
		}
	}
	return true
}

// sorts reports a sort of more than a few rows: a user's own rooms, a page of members, a user's 20 devices and a tenant's
// keys may be.
func sorts(step, query string) bool {
	if !strings.Contains(step, "TEMP B-TREE FOR ORDER BY") {
		return false
	}
	for _, few := range []string{"m.user = ?", "OFFSET ?) p", "FROM devices WHERE user = ?", "UNION ALL"} {
		if strings.Contains(query, few) {
			return false
		}
	}
	return true
}
