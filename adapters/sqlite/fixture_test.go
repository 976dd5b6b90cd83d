package sqlite_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

const tenant domain.TenantID = "tenant_a"

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	counter atomic.Uint64
)

// uuid is unique in the test binary and rises with time, as version 7 does.
func uuid() (u domain.UUID) {
	binary.BigEndian.PutUint64(u[:], counter.Add(1))
	u[15] = 7
	return u
}

// openStore opens a store in a directory of the test's own and closes it at the end.
func openStore(tb testing.TB, cfg sqlite.Config) *sqlite.Store {
	tb.Helper()
	if cfg.DSN == "" {
		cfg.DSN = filepath.Join(tb.TempDir(), "chat.db")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnFatal == nil {
		cfg.OnFatal = func(err error) { tb.Errorf("fatal: %v", err) }
	}
	s, err := sqlite.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

// withTenant opens a store that has the tenant.
func withTenant(tb testing.TB) *sqlite.Store {
	tb.Helper()
	s := openStore(tb, sqlite.Config{})
	makeTenant(tb, s)
	return s
}

func makeTenant(tb testing.TB, s *sqlite.Store) {
	tb.Helper()
	if err := s.CreateTenant(tb.Context(), domain.Tenant{ID: tenant, Name: "A", CreatedAt: now}); err != nil {
		tb.Fatal(err)
	}
}

// makeRoom stores a group of these users.
func makeRoom(tb testing.TB, s *sqlite.Store, users ...domain.UserID) domain.Room {
	tb.Helper()
	members := make([]domain.Member, len(users))
	for i, u := range users {
		members[i] = domain.Member{User: u, Role: domain.RoleMember, State: domain.Active, JoinedAt: now}
	}
	room, err := ports.Update(tb.Context(), s, tenant, func(tx ports.Tx) (domain.Room, error) {
		return tx.CreateRoom(domain.Room{ID: domain.RoomID(uuid()), Type: domain.RoomGroup, FirstSeq: 1, CreatedAt: now}, members)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return room
}

// send is a send of content by a user, without a client id.
func send(user domain.UserID, content string) domain.Send {
	return domain.Send{
		Draft: domain.Draft{Content: content}, Sender: user, SenderType: domain.SenderUser,
		ID: domain.MessageID(uuid()), Now: now,
	}
}

func appendTo(tb testing.TB, s *sqlite.Store, room domain.RoomID, send domain.Send) ports.Appended {
	tb.Helper()
	in := domain.Intent{Room: room, Sender: send.Sender, ClientID: send.Draft.ClientID, ReplyTo: send.ReplyTo}
	out, err := s.Append(tb.Context(), tenant, in, send.Decide)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func fill(tb testing.TB, s *sqlite.Store, room domain.RoomID, user domain.UserID, n int) {
	tb.Helper()
	for i := range n {
		appendTo(tb, s, room, send(user, fmt.Sprintf("message %d", i+1)))
	}
}
