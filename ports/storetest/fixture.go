package storetest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// fixture is a backend seen from one tenant, with what the cases need around it.
type fixture struct {
	*world
	tenant domain.TenantID
}

// world is what the fixtures of one case share.
type world struct {
	t       *testing.T
	db      Backend
	times   *Times
	commits *recorder
	about   domain.Lane // of the outbox: the one that the case is about, if not that of the webhooks
	ids     atomic.Uint64
	ticks   atomic.Int64
}

// newFixture makes a tenant in a fresh backend and listens to its commits.
func newFixture(t *testing.T, db Backend, times *Times) *fixture {
	w := &world{t: t, db: db, times: times, commits: newRecorder()}
	db.OnCommit(w.commits.record)
	t.Cleanup(func() { w.commits.check(t) })
	if other, loaded := epochs.LoadOrStore(db.Epoch(), t.Name()); loaded {
		t.Fatalf("epoch %q is also that of the store of %s", db.Epoch(), other)
	}
	return w.newTenant("first")
}

// newTenant makes another tenant in the same backend.
func (w *world) newTenant(name string) *fixture {
	w.t.Helper()
	f := &fixture{world: w, tenant: domain.TenantID("tenant_" + w.newUUID().String())}
	err := w.db.CreateTenant(w.t.Context(), domain.Tenant{ID: f.tenant, Name: name, CreatedAt: w.now()})
	if err != nil {
		w.t.Fatalf("CreateTenant: %v", err)
	}
	return f
}

// reopen closes the backend and opens it again.
func (w *world) reopen() {
	w.t.Helper()
	w.db = w.db.Reopen(w.t)
	w.db.OnCommit(w.commits.record)
}

// newUUID counts, and scatters what it counted.
func (w *world) newUUID() domain.UUID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, w.ids.Add(1)))
	u := domain.UUID(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x70, u[8]&0x3f|0x80
	return u
}

func (w *world) newRoomID() domain.RoomID       { return domain.RoomID(w.newUUID()) }
func (w *world) newMessageID() domain.MessageID { return domain.MessageID(w.newUUID()) }

// now is a clock of its own that ticks 7 ms whenever it is read, beside the backend's.
func (w *world) now() time.Time {
	return w.times.Now().Add(time.Duration(w.ticks.Add(1)) * 7 * time.Millisecond)
}

// view and update run fn and end the case when that fails.
func (f *fixture) view(fn func(r ports.Reader) error) {
	f.t.Helper()
	if err := f.db.View(f.t.Context(), f.tenant, fn); err != nil {
		f.t.Fatalf("View: %v", err)
	}
}

func (f *fixture) update(fn func(tx ports.Tx) error) {
	f.t.Helper()
	if err := f.tryUpdate(fn); err != nil {
		f.t.Fatalf("Update: %v", err)
	}
}

func (f *fixture) tryUpdate(fn func(tx ports.Tx) error) error {
	return f.db.Update(f.t.Context(), f.tenant, fn)
}

// newRoom is a room value and members as the domain would make them: the first user is the admin.
func (f *fixture) newRoom(kind domain.RoomType, users ...domain.UserID) (domain.Room, []domain.Member) {
	now := f.now()
	members := make([]domain.Member, len(users))
	for i, u := range users {
		members[i] = domain.Member{User: u, Role: domain.RoleMember, State: domain.Active, JoinedAt: now}
	}
	if len(users) > 0 && kind != domain.RoomDM {
		members[0].Role = domain.RoleAdmin
	}
	return domain.Room{
		ID: f.newRoomID(), Type: kind, FirstSeq: 1, Members: int64(len(users)), Handoff: byBots, CreatedAt: now,
	}, members
}

// group stores a group of users.
func (f *fixture) group(users ...domain.UserID) domain.Room {
	f.t.Helper()
	return f.create(f.newRoom(domain.RoomGroup, users...))
}

func (f *fixture) create(room domain.Room, members []domain.Member) domain.Room {
	f.t.Helper()
	made, err := f.tryCreate(room, members)
	if err != nil {
		f.t.Fatalf("CreateRoom: %v", err)
	}
	return made
}

func (f *fixture) tryCreate(room domain.Room, members []domain.Member) (domain.Room, error) {
	return ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (domain.Room, error) {
		return tx.CreateRoom(room, members)
	})
}

// newSend is a valid send, not yet stored.
func (f *fixture) newSend(user domain.UserID, draft domain.Draft) domain.Send {
	s := domain.Send{
		Draft: draft, Sender: user, SenderType: domain.SenderUser, ID: f.newMessageID(), Now: f.now(),
	}
	if draft.ClientID != "" {
		s.Fingerprint = draft.Fingerprint()
	}
	s.ReplyTo, _ = domain.ParseMessageID(draft.ReplyTo)
	return s
}

// trySend appends a send as the core does, key being its Idempotency-Key or nil. Any goroutine may call it.
func (f *fixture) trySend(room domain.RoomID, s domain.Send, key *domain.Idempotency) (ports.Appended, error) {
	in := domain.Intent{Room: room, Sender: s.Sender, ClientID: s.Draft.ClientID, ReplyTo: s.ReplyTo, Idempotency: key}
	return f.db.Append(f.t.Context(), f.tenant, in, s.Decide)
}

// send stores a message or ends the case.
func (f *fixture) send(room domain.RoomID, user domain.UserID, content string) domain.Message {
	f.t.Helper()
	return f.sendDraft(room, user, domain.Draft{Content: content})
}

func (f *fixture) sendDraft(room domain.RoomID, user domain.UserID, d domain.Draft) domain.Message {
	f.t.Helper()
	out, err := f.trySend(room, f.newSend(user, d), nil)
	if err != nil {
		f.t.Fatalf("Append: %v", err)
	}
	if out.Duplicate {
		f.t.Fatalf("Append of a new message is a duplicate: %s", show(out.Message))
	}
	return out.Message
}

// sendMany stores n messages of user, numbered in their content.
func (f *fixture) sendMany(room domain.RoomID, user domain.UserID, n int) []domain.Message {
	f.t.Helper()
	sent := make([]domain.Message, n)
	for i := range sent {
		sent[i] = f.send(room, user, fmt.Sprintf("message %d", i+1))
	}
	return sent
}

// addMember, removeMember and setRole change one membership, each in its own transaction.
func (f *fixture) addMember(room domain.RoomID, user domain.UserID, role domain.Role) domain.Member {
	f.t.Helper()
	at := f.now()
	return f.member("AddMember", func(tx ports.Tx) (domain.Member, error) { return tx.AddMember(room, user, role, at) })
}

func (f *fixture) removeMember(room domain.RoomID, user domain.UserID) domain.Member {
	f.t.Helper()
	at := f.now()
	return f.member("RemoveMember", func(tx ports.Tx) (domain.Member, error) { return tx.RemoveMember(room, user, at) })
}

func (f *fixture) setRole(room domain.RoomID, user domain.UserID, role domain.Role) domain.Member {
	f.t.Helper()
	at := f.now()
	return f.member("SetRole", func(tx ports.Tx) (domain.Member, error) { return tx.SetRole(room, user, role, at) })
}

// edit, delete and rename change what was said, each in its own transaction, as the use cases do: by the stored state.
func (f *fixture) edit(room domain.RoomID, seq int64, content string) domain.Message {
	f.t.Helper()
	m := f.history(room)[seq-1]
	m.Content, m.EditedAt = content, f.now()
	return f.changed("EditMessage", func(tx ports.Tx) (domain.Message, error) { return tx.EditMessage(m) })
}

func (f *fixture) delete(room domain.RoomID, seq int64) domain.Message {
	f.t.Helper()
	m := f.history(room)[seq-1].Tombstone(f.now())
	return f.changed("DeleteMessage", func(tx ports.Tx) (domain.Message, error) { return tx.DeleteMessage(m) })
}

func (f *fixture) changed(what string, fn func(ports.Tx) (domain.Message, error)) domain.Message {
	f.t.Helper()
	m, err := ports.Update(f.t.Context(), f.db, f.tenant, fn)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	return m
}

func (f *fixture) rename(id domain.RoomID, name string) domain.Room {
	f.t.Helper()
	room := f.roomNow(id)
	room.Name = &name
	return f.updateRoom(room, f.now())
}

func (f *fixture) updateRoom(room domain.Room, at time.Time) domain.Room {
	f.t.Helper()
	updated, err := ports.Update(f.t.Context(), f.db, f.tenant, func(tx ports.Tx) (domain.Room, error) {
		return tx.UpdateRoom(room, at)
	})
	if err != nil {
		f.t.Fatalf("UpdateRoom: %v", err)
	}
	return updated
}

// removeRoom removes a room and returns the position of its removal.
func (f *fixture) removeRoom(room domain.RoomID) (rev int64) {
	f.t.Helper()
	rev, at := f.roomNow(room).LastRev+1, f.now()
	f.update(func(tx ports.Tx) error { return tx.RemoveRoom(room, at) })
	return rev
}

func (f *fixture) member(what string, fn func(ports.Tx) (domain.Member, error)) domain.Member {
	f.t.Helper()
	m, err := ports.Update(f.t.Context(), f.db, f.tenant, fn)
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	return m
}

// parallel runs fn n times at once and waits; errors fail the case.
func parallel(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
