package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

const tenant domain.TenantID = "tenant_a"

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// withTenant opens a store that has the tenant.
func withTenant(tb testing.TB, cfg postgres.Config) *postgres.Store {
	tb.Helper()
	s := openStore(tb, cfg)
	makeTenant(tb, s, tenant)
	return s
}

func makeTenant(tb testing.TB, s *postgres.Store, id domain.TenantID) {
	tb.Helper()
	if err := s.CreateTenant(tb.Context(), domain.Tenant{ID: id, Name: string(id), CreatedAt: now}); err != nil {
		tb.Fatal(err)
	}
}

// makeRoom stores a group of these users.
func makeRoom(tb testing.TB, s ports.Store, of domain.TenantID, users ...domain.UserID) domain.Room {
	tb.Helper()
	members := make([]domain.Member, len(users))
	for i, u := range users {
		members[i] = domain.Member{User: u, Role: domain.RoleMember, State: domain.Active, JoinedAt: now}
	}
	room, err := ports.Update(tb.Context(), s, of, func(tx ports.Tx) (domain.Room, error) {
		return tx.CreateRoom(domain.Room{ID: domain.RoomID(fresh()), Type: domain.RoomGroup, FirstSeq: 1, CreatedAt: now}, members)
	})
	if err != nil {
		tb.Fatal(err)
	}
	return room
}

// newSend is a send of content by a user, without a client id.
func newSend(user domain.UserID, content string) domain.Send {
	return domain.Send{
		Draft: domain.Draft{Content: content}, Sender: user, SenderType: domain.SenderUser, ID: domain.MessageID(fresh()), Now: now,
	}
}

// appendTo sends as the core does. Any goroutine may call it.
func appendTo(tb testing.TB, s ports.Appender, of domain.TenantID, room domain.RoomID, send domain.Send) (ports.Appended, error) {
	in := domain.Intent{Room: room, Sender: send.Sender, ClientID: send.Draft.ClientID, ReplyTo: send.ReplyTo}
	return s.Append(tb.Context(), of, in, send.Decide)
}

func mustAppend(tb testing.TB, s ports.Appender, of domain.TenantID, room domain.RoomID, content string) domain.Message {
	tb.Helper()
	out, err := appendTo(tb, s, of, room, newSend("ann", content))
	if err != nil {
		tb.Fatalf("append: %v", err)
	}
	return out.Message
}

// history is all that a room holds.
func history(tb testing.TB, s ports.Store, of domain.TenantID, room domain.RoomID) []domain.Message {
	tb.Helper()
	found, err := ports.View(tb.Context(), s, of, func(r ports.Reader) ([]domain.Message, error) {
		return r.MessagesAfter(room, 0, 10_000)
	})
	if err != nil {
		tb.Fatalf("history: %v", err)
	}
	return found
}

// fillTenant makes a tenant with a room of three messages.
func fillTenant(tb testing.TB, s *postgres.Store, name string) domain.Room {
	tb.Helper()
	id := domain.TenantID(name)
	makeTenant(tb, s, id)
	room := makeRoom(tb, s, id, "ann", "bob")
	for i := range 3 {
		mustAppend(tb, s, id, room.ID, fmt.Sprintf("message %d", i+1))
	}
	return room
}
