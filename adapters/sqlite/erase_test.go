package sqlite_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// erasure is a store and the texts sent to it, each of which begins with its own mark.
type erasure struct {
	s     *sqlite.Store
	dsn   string
	marks []string
}

func newErasure(t *testing.T) *erasure {
	t.Helper()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	s := openStore(t, sqlite.Config{DSN: dsn})
	makeTenant(t, s)
	return &erasure{s: s, dsn: dsn}
}

// send fills a room with n texts, longer by up to so many bytes.
func (e *erasure) send(t *testing.T, room domain.RoomID, n, bytes int) (sent []domain.Message) {
	t.Helper()
	for i := range n {
		mark := fmt.Sprintf("SECRET%05d", len(e.marks))
		e.marks = append(e.marks, mark)
		m := send("alice", strings.Repeat(mark, 1+i*bytes/n/len(mark)))
		sent = append(sent, appendTo(t, e.s, room, m).Message)
	}
	return sent
}

// forget edits every other message and deletes the rest.
func (e *erasure) forget(t *testing.T, sent []domain.Message) {
	t.Helper()
	err := e.s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		for i, m := range sent {
			var err error
			if m.Content, m.EditedAt = "public", now; i%2 == 0 {
				_, err = tx.EditMessage(m)
			} else {
				_, err = tx.DeleteMessage(m.Tombstone(now))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// left counts the texts of which anything is still in a file.
func (e *erasure) left(t *testing.T, path string) (n int) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range e.marks {
		if bytes.Contains(file, []byte(mark)) {
			n++
		}
	}
	return n
}

// check closes the store, which empties the write-ahead log, and looks at what is left.
func (e *erasure) check(t *testing.T) {
	t.Helper()
	if err := e.s.Close(); err != nil {
		t.Fatal(err)
	}
	if left := e.left(t, e.dsn); left > 0 {
		t.Errorf("%d of %d texts are still in the file", left, len(e.marks))
	}
}

// TestEditedAndDeletedTextsAreGoneFromTheFile fills one room, whose pages are never split in the middle: of those that
// are, a copy of a row may stay in the part that nothing uses until something does. Texts of 15 KB have pages of their own.
func TestEditedAndDeletedTextsAreGoneFromTheFile(t *testing.T) {
	t.Parallel()
	e := newErasure(t)
	room := makeRoom(t, e.s, "alice")
	e.forget(t, append(e.send(t, room.ID, 2000, 500), e.send(t, room.ID, 200, 15_000)...))
	e.check(t)
}

// TestTextsOfAPurgedRoomAreGoneFromTheFile has rooms that stay on both sides of the one that goes.
func TestTextsOfAPurgedRoomAreGoneFromTheFile(t *testing.T) {
	t.Parallel()
	e := newErasure(t)
	rooms := []domain.Room{makeRoom(t, e.s, "alice"), makeRoom(t, e.s, "alice"), makeRoom(t, e.s, "alice")}
	fill(t, e.s, rooms[0].ID, "alice", 300)
	e.forget(t, e.send(t, rooms[1].ID, 300, 15_000)[:100])
	e.send(t, rooms[1].ID, 2000, 500)
	fill(t, e.s, rooms[2].ID, "alice", 300)
	remove(t, e.s, rooms[1].ID)
	purgeAll(t, e.s)
	e.check(t)
}

// TestTextsAreGoneFromAQuietServer leaves the store open: nothing is written after the deletion, and one view that was
// under way then ends late.
func TestTextsAreGoneFromAQuietServer(t *testing.T) {
	t.Parallel()
	e := newErasure(t)
	room := makeRoom(t, e.s, "alice")
	sent := e.send(t, room.ID, 20, 15_000)
	err := e.s.View(t.Context(), tenant, func(r ports.Reader) error {
		if _, err := r.MessagesAfter(room.ID, 0, 1); err != nil {
			return err
		}
		e.forget(t, sent)
		before := e.s.Stats().Checkpoints
		eventually(t, "an idle writer tries to empty the log", func() bool { return e.s.Stats().Checkpoints > before+1 })
		if e.left(t, e.dsn+"-wal") == 0 {
			t.Error("the write-ahead log was emptied although a view needs it")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the write-ahead log is empty", func() bool { return e.s.Stats().WALBytes == 0 })
	if left := e.left(t, e.dsn); left > 0 {
		t.Errorf("%d of %d texts are still in the file", left, len(e.marks))
	}
	appendTo(t, e.s, room.ID, send("alice", "the log begins anew"))
	if got := lastSeq(t, e.s, room.ID); got.LastSeq != 21 {
		t.Errorf("last seq %d, want 21", got.LastSeq)
	}
}
