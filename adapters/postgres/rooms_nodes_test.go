package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// draft is a room to be made.
func (n *nodes) draft(kind domain.RoomType, key string) domain.Room {
	return domain.Room{ID: domain.RoomID(fresh()), Type: kind, UniqueKey: key, FirstSeq: 1, CreatedAt: n.clock.Now()}
}

func (n *nodes) members(users ...domain.UserID) []domain.Member {
	members := make([]domain.Member, len(users))
	for i, u := range users {
		members[i] = domain.Member{User: u, Role: domain.RoleMember, State: domain.Active, JoinedAt: n.clock.Now()}
	}
	return members
}

// sendTo sends so many messages to a room.
func (n *nodes) sendTo(node int, room domain.RoomID, user domain.UserID, count int) (sent []domain.Message) {
	n.Helper()
	for i := range count {
		out, err := n.stores[node].Append(n.Context(), n.tenant, domain.Intent{Room: room, Sender: user},
			domain.Send{
				Draft: domain.Draft{Content: fmt.Sprint("message ", i)}, Sender: user, SenderType: domain.SenderUser,
				ID: domain.MessageID(fresh()), Now: n.clock.Now(),
			}.Decide)
		if err != nil {
			n.Fatal(err)
		}
		sent = append(sent, out.Message)
	}
	return sent
}

func (n *nodes) positions(user domain.UserID, device domain.DeviceID) ports.Places {
	n.Helper()
	var places ports.Places
	n.view(0, func(r ports.Reader) (err error) {
		places, err = r.Places(user, device)
		return err
	})
	return places
}

func TestOneDMIsMadeByManyNodesThatAreAskedAtOnce(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 4)
	const key = "dm:ann:bob"
	made := make([]domain.RoomID, len(of.stores))
	found := make([]domain.RoomID, len(of.stores))
	of.each(func(node int, s *postgres.Store) error {
		return s.Update(t.Context(), of.tenant, func(tx ports.Tx) error {
			room, err := tx.CreateRoom(of.draft(domain.RoomDM, key), of.members("ann", "bob"))
			if err == nil {
				made[node], found[node] = room.ID, room.ID
				return nil
			}
			if !errors.Is(err, domain.ErrDMExists) {
				return err
			}
			room, err = tx.RoomByKey(key)
			made[node], found[node] = domain.RoomID{}, room.ID
			return err
		})
	})
	makers := 0
	for _, id := range made {
		if !id.IsZero() {
			makers++
		}
	}
	if makers != 1 || len(slices.Compact(slices.Clone(found))) != 1 {
		t.Errorf("made %v, found %v, want one room", made, found)
	}
}

// TestRoomsOfTheSamePeopleAreMadeSideBySide has each node name them in another order: nobody may lose too often to be made.
func TestRoomsOfTheSamePeopleAreMadeSideBySide(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 4)
	const each = 20
	people := []domain.UserID{"ann", "bob", "cid", "dan", "eve", "fay"}
	of.each(func(node int, s *postgres.Store) error {
		mine := slices.Concat(people[node:], people[:node])
		if node%2 == 1 {
			slices.Reverse(mine)
		}
		for range each {
			_, err := ports.Update(t.Context(), s, of.tenant, func(tx ports.Tx) (domain.Room, error) {
				return tx.CreateRoom(of.draft(domain.RoomGroup, ""), of.members(mine...))
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, who := range people {
		places := of.positions(who, "phone")
		if want := each * len(of.stores); len(places.Rooms) != want || places.UserRev != int64(want) {
			t.Errorf("%s is in %d rooms at %d, want %d", who, len(places.Rooms), places.UserRev, want)
		}
	}
}

// TestTheLogOfARoomIsDenseWhoeverWritesIt lets all nodes change one room in different ways at once.
func TestTheLogOfARoomIsDenseWhoeverWritesIt(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 4)
	room := of.room("ann")
	sent := of.sendTo(0, room.ID, "ann", 10)
	const each = 15
	of.each(func(node int, s *postgres.Store) error {
		for i := range each {
			err := s.Update(t.Context(), of.tenant, func(tx ports.Tx) error {
				switch i % 3 {
				case 0:
					_, err := tx.AddMember(room.ID, domain.UserID(fmt.Sprintf("user %d-%d", node, i)), domain.RoleMember, of.clock.Now())
					return err
				case 1:
					m := sent[i%len(sent)]
					m.Content, m.EditedAt = fmt.Sprint("edited by ", node), of.clock.Now()
					_, err := tx.EditMessage(m)
					return err
				default:
					name := fmt.Sprint("room of ", node)
					_, err := tx.UpdateRoom(domain.Room{ID: room.ID, Name: &name}, of.clock.Now())
					return err
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	of.view(0, func(r ports.Reader) error {
		events, err := r.Events(ports.EventQuery{Room: room.ID, Limit: 1000})
		for i, e := range events {
			if e.Rev != int64(i+1) {
				t.Fatalf("event %d is at %d", i, e.Rev)
			}
		}
		now, _, err2 := r.Access(room.ID, "")
		if want := int64(1 + 10 + each*len(of.stores)); now.LastRev != want || int64(len(events)) != want {
			t.Errorf("the room is at %d with %d events, want %d", now.LastRev, len(events), want)
		}
		if want := int64(1 + each/3*len(of.stores)); now.Members != want {
			t.Errorf("%d members, want %d", now.Members, want)
		}
		return errors.Join(err, err2)
	})
}

// TestFirstMarksOfAllDevicesOfAUserMayComeAtOnce: each finds that the others have none.
func TestFirstMarksOfAllDevicesOfAUserMayComeAtOnce(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 4)
	var rooms []domain.Room
	for range 10 {
		room := of.room("ann", "bob")
		of.sendTo(0, room.ID, "ann", 9)
		rooms = append(rooms, room)
	}
	device := func(node int) domain.DeviceID { return domain.DeviceID(fmt.Sprint("device ", 9-node)) }
	for node := range of.stores {
		of.update(0, func(tx ports.Tx) error { return tx.SeeDevice("bob", device(node), 0, of.clock.Now()) })
	}
	of.each(func(node int, s *postgres.Store) error {
		for _, room := range rooms {
			_, err := ports.Update(t.Context(), s, of.tenant, func(tx ports.Tx) (domain.Mark, error) {
				return tx.RaiseMark(room.ID, "bob", device(node), domain.Mark{DeliveredSeq: int64(9 - node)})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for node := range of.stores {
		for _, p := range of.positions("bob", device(node)).Rooms {
			if want := (domain.Mark{DeliveredSeq: int64(9 - node), DeliveredRev: int64(10 - node)}); p.Mark != want {
				t.Errorf("%s stands at %+v, want %+v", device(node), p.Mark, want)
			}
		}
	}
}

// TestANewDeviceWaitsForMarksThatAreBeingRaised: one that reads its place once it is noted must not have it moved by a mark
// that was raised without knowing of it.
func TestANewDeviceWaitsForMarksThatAreBeingRaised(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 2)
	room := of.room("ann", "bob")
	of.sendTo(0, room.ID, "ann", 9)
	raised, noted := make(chan struct{}), make(chan error, 1)
	of.update(0, func(tx ports.Tx) error { return tx.SeeDevice("bob", "phone", 0, of.clock.Now()) })
	of.update(0, func(tx ports.Tx) error {
		if _, err := tx.RaiseMark(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 9}); err != nil {
			return err
		}
		go func() {
			close(raised)
			noted <- of.stores[1].Update(context.WithoutCancel(t.Context()), of.tenant, func(tx ports.Tx) error {
				return tx.SeeDevice("bob", "laptop", 0, of.clock.Now())
			})
		}()
		<-raised
		select {
		case err := <-noted:
			t.Errorf("the device was noted amid, %v", err)
			noted <- err
		case <-time.After(50 * time.Millisecond):
		}
		return nil
	})
	if err := <-noted; err != nil {
		t.Fatal(err)
	}
	of.update(0, func(tx ports.Tx) error {
		_, err := tx.RaiseMark(room.ID, "bob", "phone", domain.Mark{DeliveredSeq: 9, DeliveredRev: 20})
		return err
	})
	place := of.positions("bob", "laptop").Rooms[0].Mark
	if want := (domain.Mark{DeliveredSeq: 9, DeliveredRev: 10}); place != want {
		t.Errorf("the laptop stands at %+v, want %+v", place, want)
	}
}

// TestAnIdempotencyKeyIsWorthOneOnAllNodes: those who look it up while another is at it wait for what that one keeps.
func TestAnIdempotencyKeyIsWorthOneOnAllNodes(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 4)
	key := domain.Idempotency{User: "ann", Key: [32]byte{1}, Request: [32]byte{2}}
	replayed := make([]bool, len(of.stores))
	of.each(func(node int, s *postgres.Store) error {
		return s.Update(t.Context(), of.tenant, func(tx ports.Tx) error {
			record, err := tx.Idempotency(key.User, key.Key, of.clock.Now())
			if replayed[node] = record != nil; err != nil || record != nil {
				return err
			}
			room, err := tx.CreateRoom(of.draft(domain.RoomGroup, ""), of.members("ann"))
			if err != nil {
				return err
			}
			return tx.KeepIdempotency(key, 201, room.ID.String(), of.clock.Now())
		})
	})
	if rooms := len(of.positions("ann", "").Rooms); rooms != 1 {
		t.Errorf("%d rooms were made, replayed %v, want one", rooms, replayed)
	}
}

// TestUnreadCountsFollowWhatOtherNodesWrite: a node remembers what it counted.
func TestUnreadCountsFollowWhatOtherNodesWrite(t *testing.T) {
	t.Parallel()
	of := openNodes(t, 2)
	room := of.room("ann", "bob")
	unread := func() (n int64) {
		t.Helper()
		of.view(0, func(r ports.Reader) error {
			list, err := r.Rooms(domain.RoomQuery{User: "bob", Limit: 10})
			if err == nil {
				n = list[0].Unread
			}
			return err
		})
		return n
	}
	sent := of.sendTo(1, room.ID, "ann", 5)
	steps := []struct {
		what string
		do   func(ports.Tx) error
		want int64
	}{
		{"nothing", func(ports.Tx) error { return nil }, 5},
		{"a deletion", func(tx ports.Tx) error {
			gone := sent[2]
			gone.DeletedAt = of.clock.Now()
			_, err := tx.DeleteMessage(gone)
			return err
		}, 4},
		{"reading on", func(tx ports.Tx) error {
			_, err := tx.RaiseRead(room.ID, "bob", 2)
			return err
		}, 2},
		{"the deletion of what is read", func(tx ports.Tx) error {
			gone := sent[0]
			gone.DeletedAt = of.clock.Now()
			_, err := tx.DeleteMessage(gone)
			return err
		}, 2},
	}
	for _, s := range steps {
		of.update(1, s.do)
		if got := unread(); got != s.want {
			t.Errorf("%d unread after %s, want %d", got, s.what, s.want)
		}
	}
	of.sendTo(1, room.ID, "ann", 3)
	of.sendTo(1, room.ID, "bob", 1)
	if got := unread(); got != 5 {
		t.Errorf("%d unread after more was sent, want 5", got)
	}
}

// TestNodesThatPurgeAtOnceLeaveNothing: one does it at a time.
func TestNodesThatPurgeAtOnceLeaveNothing(t *testing.T) {
	t.Parallel()
	of := &nodes{TB: t, clock: &passing{}, tenant: "tenant_nodes"}
	dsn := newDatabase(t)
	for range 3 {
		of.open(dsn)
	}
	other := &nodes{TB: t, clock: of.clock, tenant: "tenant_other", stores: of.stores}
	of.addTenant(of.tenant)
	of.addTenant(other.tenant)
	for range 3 {
		room := of.room("ann", "bob")
		of.sendTo(0, room.ID, "ann", 300)
		gone := other.room("ann", "bob", "cid")
		other.sendTo(0, gone.ID, "ann", 300)
	}
	before := of.positions("ann", "")
	if err := of.stores[0].DeleteTenant(t.Context(), "tenant_other", of.clock.Now()); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		var again atomic.Bool
		of.each(func(_ int, s *postgres.Store) error {
			one, err := s.Purge(t.Context())
			if one {
				again.Store(true)
			}
			return err
		})
		more = again.Load()
	}
	after := of.positions("ann", "")
	if len(after.Rooms) != 3 || len(before.Rooms) != 3 {
		t.Errorf("%d rooms before, %d after, want 3", len(before.Rooms), len(after.Rooms))
	}
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(t.Context())) }()
	if _, err := db.Exec(t.Context(), "SET ROLE chatapi_operator"); err != nil {
		t.Fatal(err)
	}
	for table, want := range map[string]int64{"rooms": 3, "members": 6, "messages": 900, "users": 2, "tenants": 1} {
		var left int64
		if err := db.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&left); err != nil || left != want {
			t.Errorf("%d rows of %s are left, %v, want %d", left, table, err, want)
		}
	}
}

// TestPurgeOfATenantWaitsForNodesOfOtherUsers has a node with a user of its own in the middle of a unit of work for a
// tenant that another deletes and purges.
func TestPurgeOfATenantWaitsForNodesOfOtherUsers(t *testing.T) {
	t.Parallel()
	name := clone(t)
	t.Cleanup(func() {
		harness.Check(t, server.Drop(name))
		harness.Check(t, server.Do("postgres", "DROP ROLE second_node"))
	})
	harness.Check(t, server.Do("postgres", "CREATE ROLE second_node LOGIN PASSWORD 'own'"))
	harness.Check(t, server.Do("postgres", "GRANT chatapi_tenant, chatapi_operator TO second_node"))
	harness.Check(t, server.Do(name, "GRANT SELECT ON goose_db_version TO second_node"))
	first := withTenant(t, postgres.Config{DSN: server.URL(name)})
	second := openStore(t, postgres.Config{DSN: as(t, server.URL(name), "second_node", "own")})
	err := second.Update(t.Context(), tenant, func(tx ports.Tx) error {
		harness.Check(t, first.DeleteTenant(t.Context(), tenant, now))
		for range 3 {
			if more, err := first.Purge(t.Context()); err != nil || !more {
				t.Errorf("a purge beside a unit of work of the tenant: more is %v, %v", more, err)
			}
		}
		_, err := tx.CreateRoom(domain.Room{ID: domain.RoomID(fresh()), Type: domain.RoomGroup, FirstSeq: 1, CreatedAt: now},
			[]domain.Member{{User: "ann", Role: domain.RoleMember, State: domain.Active, JoinedAt: now}})
		return err
	})
	harness.Check(t, err)
	for more := true; more; {
		if more, err = first.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	db := connectTo(t, server.URL(name))
	mustExec(t, db, "SET ROLE chatapi_operator")
	for _, table := range []string{"tenants", "rooms", "members", "users"} {
		if left := count(t, db, "SELECT count(*) FROM "+table); left != 0 {
			t.Errorf("%d rows of %s are left", left, table)
		}
	}
}
