package blackbox

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

// TestANewMemberIsThereHoweverSoonOthersAre makes rooms whose maker takes a seat in them at once, by a subscribe that
// may come before the word of the room itself has reached the others' sockets: they must hear of it all the same.
func TestANewMemberIsThereHoweverSoonOthersAre(t *testing.T) {
	t.Parallel()
	const makers, rounds = 32, 15
	tenant := tenantOf(t, harness.Options{})
	all, _ := users(tenant, "maker", makers)
	conns := make([]*harness.Conn, makers)
	for i, u := range all {
		conns[i] = connect(t, u)
	}
	bob := connect(t, tenant.User("bob"))
	errs := make([]error, makers)
	rooms := make([][]string, makers)
	var wg sync.WaitGroup
	for i, u := range all {
		wg.Go(func() {
			for n := 0; n < rounds && errs[i] == nil; n++ {
				room, err := u.CreateRoom("group", "bob")
				if err == nil {
					_, err = conns[i].Ask(map[string]any{"type": "subscribe", "room_id": room.RoomID})
				}
				if err == nil {
					_, err = u.Send(room.RoomID, harness.Body("%d", n))
				}
				errs[i], rooms[i] = err, append(rooms[i], room.RoomID)
			}
		})
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
	missed := 0
	for i := range rooms {
		for n, room := range rooms[i] {
			if _, err := bob.AwaitFor(latencyLimit, fmt.Sprintf("message %d of maker %d", n, i), of("message", room)); err != nil {
				missed++
				t.Errorf("a member who was there heard nothing of a new room: %v", err)
			}
			if missed > 3 {
				t.FailNow()
			}
		}
	}
}
