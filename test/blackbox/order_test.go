package blackbox

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

func TestSixtyFourPostersReachASubscriberInOrderWithoutAGap(t *testing.T) {
	t.Parallel()
	const posters, each = 64, 50
	tenant := tenantOf(t, harness.Options{})
	all, ids := users(tenant, "poster", posters)
	room := harness.Must(tenant.User("reader").CreateRoom("group", ids...))(t)
	reader := connect(t, tenant.User("reader"))

	errs := make([]error, posters)
	var wg sync.WaitGroup
	for i, u := range all {
		wg.Go(func() {
			for n := range each {
				if _, err := u.Send(room.RoomID, harness.Body("%s says %d", u.ID, n)); err != nil {
					errs[i] = errors.Join(errs[i], err)
				}
			}
		})
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
	harness.Must(reader.AwaitMessage(room.RoomID, posters*each))(t)
	wantDense(t, reader.Messages(room.RoomID), 1, posters*each)
	wantDense(t, harness.Must(all[0].History(room.RoomID, 0, 100))(t), 1, posters*each)
}

func TestEverySenderReadsTheirOwnWriteAtOnce(t *testing.T) {
	t.Parallel()
	const senders, each = 8, 20
	tenant := tenantOf(t, harness.Options{})
	all, ids := users(tenant, "u", senders)
	room := harness.Must(all[0].CreateRoom("group", ids...))(t)
	errs := make([]error, senders)
	var wg sync.WaitGroup
	for i, u := range all {
		wg.Go(func() {
			for range each {
				sent, err := u.Send(room.RoomID, harness.Body("read me"))
				page, readErr := u.Page(room.RoomID, sent.Seq-1, 1)
				if err == nil && readErr == nil && (len(page) != 1 || page[0].MessageID != sent.MessageID) {
					err = errors.New("a message was not there right after its 201")
				}
				errs[i] = errors.Join(errs[i], err, readErr)
			}
		})
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
}

func TestFiftyParallelCreatesOfOneDirectMessageMakeOneRoom(t *testing.T) {
	t.Parallel()
	const creates = 50
	tenant := tenantOf(t, harness.Options{})
	var mu sync.Mutex
	rooms, made := map[string]int{}, 0
	var wg sync.WaitGroup
	errs := make([]error, creates)
	for i := range creates {
		wg.Go(func() {
			pair := []string{"ann", "bea"}
			if i%2 == 1 {
				pair = []string{"bea", "ann"}
			}
			room, err := tenant.User("ann").CreateRoom("dm", pair...)
			var conflict *harness.StatusError
			if errors.As(err, &conflict) && conflict.Status == 409 {
				problem, perr := conflict.Problem()
				room, err = problem.Error.Details.Room, perr
			} else if err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			}
			errs[i] = err
			mu.Lock()
			rooms[room.RoomID]++
			mu.Unlock()
		})
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
	if made != 1 || len(rooms) != 1 {
		t.Errorf("%d creates made %d rooms, and named these: %v", creates, made, rooms)
	}
}

func TestARetriedClientIDGivesOneMessage(t *testing.T) {
	t.Parallel()
	const retries = 20
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	room := harness.Must(alice.CreateRoom("group", "alice", "bob"))(t)
	socket := connect(t, alice)
	ids := make([]string, 2*retries)
	errs := make([]error, 2*retries)
	var wg sync.WaitGroup
	body := map[string]any{"content": harness.Body("once"), "client_id": "same"}
	for i := range retries {
		wg.Go(func() {
			m, err := alice.SendAs(room.RoomID, body)
			ids[i], errs[i] = m.MessageID, err
		})
		wg.Go(func() {
			m, _, err := socket.Send(room.RoomID, harness.Body("once"), "same")
			ids[retries+i], errs[retries+i] = m.MessageID, err
		})
	}
	wg.Wait()
	harness.Check(t, errors.Join(errs...))
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one client_id gave the messages %s and %s", ids[0], id)
		}
	}
	wantDense(t, harness.Must(alice.History(room.RoomID, 0, 100))(t), 1, 1)

	res := harness.Must(alice.Call("POST", "/rooms/"+room.RoomID+"/messages", body, 201, nil))(t)
	if res.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("a repeated send has the headers %v, want Idempotency-Replayed: true", res.Header)
	}
	if _, duplicate, err := socket.Send(room.RoomID, harness.Body("once"), "same"); err != nil || !duplicate {
		t.Errorf("a repeated send over the socket: duplicate %v, error %v", duplicate, err)
	}
	other := map[string]any{"content": harness.Body("not the same"), "client_id": "same"}
	res = harness.Must(alice.Call("POST", "/rooms/"+room.RoomID+"/messages", other, 409, nil))(t)
	wantProblem(t, res, "CONFLICT", "")
	var refused *harness.FrameError
	_, _, err := socket.Send(room.RoomID, harness.Body("not the same"), "same")
	if !errors.As(err, &refused) || refused.Frame.Code != "CONFLICT" {
		t.Errorf("another message under a known client_id: %v, want CONFLICT", err)
	}
}

func TestAnIdempotencyKeyMakesOneThing(t *testing.T) {
	t.Parallel()
	tenant := tenantOf(t, harness.Options{})
	alice := tenant.User("alice")
	keyed := alice.With("Idempotency-Key", "k-1")
	body := map[string]any{"type": "group", "members": []string{"bob"}}
	var first, again harness.Room
	harness.Must(keyed.Call("POST", "/rooms", body, 201, &first))(t)
	res := harness.Must(keyed.Call("POST", "/rooms", body, 201, &again))(t)
	if again.RoomID != first.RoomID || res.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same key gave room %s then %s, headers %v", first.RoomID, again.RoomID, res.Header)
	}
	res = harness.Must(keyed.Call("POST", "/rooms", map[string]any{"type": "group", "members": []string{"eve"}}, 409, nil))(t)
	wantProblem(t, res, "CONFLICT", "Idempotency-Key")

	send := alice.With("Idempotency-Key", "k-2")
	one := harness.Must(send.Send(first.RoomID, harness.Body("keyed")))(t)
	two := harness.Must(send.Send(first.RoomID, harness.Body("keyed")))(t)
	if one.MessageID != two.MessageID {
		t.Errorf("one Idempotency-Key gave the messages %s and %s", one.MessageID, two.MessageID)
	}
	wantDense(t, harness.Must(alice.History(first.RoomID, 0, 100))(t), 1, 1)
}

// latencyLimit is generous: these tests share two cores with others. A queue in the wrong place costs seconds.
const latencyLimit = 6 * time.Second
