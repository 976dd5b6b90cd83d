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

// TestEditedAndDeletedTextsAreGoneFromTheFile fills one room, whose pages are never split in the middle: of those that
// are, a copy of a row may stay in the part that nothing uses until something does.
func TestEditedAndDeletedTextsAreGoneFromTheFile(t *testing.T) {
	t.Parallel()
	dsn := filepath.Join(t.TempDir(), "chat.db")
	s := openStore(t, sqlite.Config{DSN: dsn})
	makeTenant(t, s)
	room := makeRoom(t, s, "alice")
	var secrets []domain.Message
	for i := range 2000 {
		m := send("alice", fmt.Sprintf("SECRET%04d%s", i, strings.Repeat("-", i%500)))
		secrets = append(secrets, appendTo(t, s, room.ID, m).Message)
	}
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		for i, m := range secrets {
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
	if err := s.Close(); err != nil { // empties the write-ahead log
		t.Fatal(err)
	}
	file, err := os.ReadFile(dsn)
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for i := range secrets {
		if bytes.Contains(file, fmt.Appendf(nil, "SECRET%04d", i)) {
			left++
		}
	}
	if left > 0 {
		t.Errorf("%d of %d texts are still in the file", left, len(secrets))
	}
}
