package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var modelContracts = []contract{
	{"a random walk of two tenants ends where a simple model does", randomWalk},
}

const (
	walkPhases  = 2   // each ends with a restart
	walkSteps   = 500 // of a phase, by each of two walkers
	walkCompare = 50  // steps between two comparisons
	walkRooms   = 12
)

// seedVariable repeats a random walk: set it to the seed that a failure has logged.
const seedVariable = "CHATAPI_STORETEST_SEED"

// walker does random things to one tenant and to its model.
type walker struct {
	*fixture
	*model
	rand    *rand.Rand
	users   []domain.UserID
	devices []domain.DeviceID
}

// randomWalk lets two tenants walk side by side, so that a store that batches has them in its batches together.
func randomWalk(f *fixture) {
	seed := rand.Uint64()
	if given, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64); err == nil {
		seed = given
	}
	f.t.Logf("to repeat this walk: %s=%d", seedVariable, seed)
	walkers := []*walker{newWalker(f, seed, 1), newWalker(f.newTenant("second"), seed, 2)}
	for range walkPhases {
		parallel(f.t, len(walkers), func(i int) error { return walkers[i].walk() })
		f.reopen()
		parallel(f.t, len(walkers), func(i int) error { return walkers[i].compare(true) })
		f.purge()
		parallel(f.t, len(walkers), func(i int) error { return walkers[i].comparePurged() })
	}
}

func newWalker(f *fixture, seed, stream uint64) *walker {
	return &walker{
		fixture: f, model: newModel(), rand: rand.New(rand.NewPCG(seed, stream)),
		users: []domain.UserID{"ann", "bob", "cid", "dan"}, devices: []domain.DeviceID{"", "phone", "laptop"},
	}
}

func (w *walker) walk() error {
	for step := 1; step <= walkSteps && !w.t.Failed(); step++ {
		w.step()
		if step%walkCompare == 0 {
			if err := w.compare(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// comparePurged compares once the removed rooms have been purged.
func (w *walker) comparePurged() error {
	w.t.Helper()
	w.model.purge()
	for _, r := range w.model.gone {
		told := w.commits.of(r.ID)
		equal(w.t, "the last event of a removed room", told[len(told)-1].Kind, domain.EventRoomRemoved)
		equal(w.t, "its rev", told[len(told)-1].Rev, r.LastRev)
	}
	return w.compare(true)
}

func (w *walker) step() {
	switch n := w.rand.IntN(100); {
	case len(w.rooms()) == 0 || n < 2:
		w.run([]change{w.newChange(changeCreate)}, false)
	case n < 55:
		w.sendOne()
	case n < 65:
		w.sendBurst()
	default:
		w.run(w.plan(), n >= 95)
	}
}

func (w *walker) rooms() []*modelRoom { return w.model.rooms }

func (w *walker) anyUser() domain.UserID { return w.users[w.rand.IntN(len(w.users))] }

func (w *walker) anyRoom() *modelRoom { return w.rooms()[w.rand.IntN(len(w.rooms()))] }

// anySend is a send by anybody, at times under a client_id that was used, at times a reply to something or nothing.
func (w *walker) anySend(r *modelRoom) domain.Send {
	d := domain.Draft{Content: awkward[w.rand.IntN(len(awkward))]}
	if w.rand.IntN(3) == 0 {
		d = domain.Draft{Content: fmt.Sprint(w.rand.IntN(2)), ClientID: fmt.Sprint("c", w.rand.IntN(30))}
	}
	if w.rand.IntN(4) == 0 {
		d.Meta = fmt.Appendf(nil, `{"n":%d}`, w.rand.IntN(10))
	}
	switch n := w.rand.IntN(12); {
	case n == 0:
		d.ReplyTo = w.newMessageID().String()
	case n < 4 && len(r.messages) > 0:
		d.ReplyTo = r.messages[w.rand.IntN(len(r.messages))].ID.String()
	}
	return w.newSend(w.anyUser(), d)
}

func (w *walker) sendOne() {
	w.t.Helper()
	r := w.anyRoom()
	send := w.anySend(r)
	got, err := w.trySend(r.ID, send, nil)
	w.sentAs(r, send, got, err)
}

// sendBurst sends to several rooms at once, so that a store that batches has a batch.
func (w *walker) sendBurst() {
	w.t.Helper()
	count := len(w.rooms())
	sends, got, errs := make([]domain.Send, count), make([]ports.Appended, count), make([]error, count)
	for i, r := range w.rooms() {
		sends[i] = w.anySend(r)
	}
	parallel(w.t, count, func(i int) error {
		got[i], errs[i] = w.trySend(w.rooms()[i].ID, sends[i], nil)
		return nil
	})
	for i, r := range w.rooms() {
		w.sentAs(r, sends[i], got[i], errs[i])
	}
}

// sentAs compares the outcome of a send with the model's.
func (w *walker) sentAs(r *modelRoom, send domain.Send, got ports.Appended, err error) {
	w.t.Helper()
	want, wantErr := w.model.send(r, send)
	if !errors.Is(err, wantErr) || !reflect.DeepEqual(got, want) {
		w.t.Errorf("Append of %s:\n got %s, %v\nwant %s, %v", show(send), show(got), err, show(want), wantErr)
	}
}

// compare reads every room's whole log and holds it against the model, and of the rest what chance picks; final
// reads the rest whole, too.
func (w *walker) compare(final bool) error {
	w.t.Helper()
	users := []domain.UserID{w.anyUser()}
	if final {
		users = append(slices.Clone(w.users), "")
	}
	for _, room := range w.rooms() {
		w.sameAsTold(room.ID, room.events(w.tenant))
	}
	return w.db.View(w.t.Context(), w.tenant, func(r ports.Reader) error {
		for _, room := range w.rooms() {
			if err := w.compareRoom(r, room, final); err != nil {
				return err
			}
		}
		for _, user := range users {
			if err := w.compareUser(r, user); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *walker) compareRoom(r ports.Reader, want *modelRoom, final bool) error {
	w.t.Helper()
	user := w.anyUser()
	room, member, err := r.Access(want.ID, user)
	equal(w.t, "the room", room, want.Room)
	equal(w.t, "the membership of "+string(user), member, want.members[user])
	members, err2 := r.Members(want.ID, 0, page)
	equalList(w.t, "members", members, want.activeMembers())
	events, err3 := readLog(r, want.ID)
	equalList(w.t, "events", events, want.events(w.tenant))
	w.compareResume(r, want, events)
	rev := w.rand.Int64N(want.LastRev + 1)
	seq, err4 := r.SeqAt(want.ID, rev)
	equal(w.t, fmt.Sprintf("SeqAt %d", rev), seq, want.seqAt(rev))
	return errors.Join(err, err2, err3, err4, w.compareHistory(r, want, final))
}

// compareResume follows the log up to a place chosen by chance and goes on from there: the one who does that ends where
// those end who never broke off.
func (w *walker) compareResume(r ports.Reader, want *modelRoom, all []domain.Event) {
	w.t.Helper()
	place := w.rand.Int64N(want.LastRev + 1)
	q := ports.EventQuery{Room: want.ID, After: place, MinSeq: w.rand.Int64N(want.LastSeq + 2), Limit: len(all) + 1}
	q.Latest = w.rand.IntN(2) == 0
	if err := w.stretch(r, q, all); err != nil {
		w.t.Errorf("events of %s: %v", show(q), err)
	}
	q.MinSeq, q.Latest = 0, w.rand.IntN(2) == 0
	rest, err := r.Events(q)
	equal(w.t, "the error of Events", err, nil)
	broken := followed(append(slices.Clone(w.commits.of(want.ID)[:place]), rest...))
	equal(w.t, "where one ends who came back", broken, followed(all))
}

// compareHistory reads a page before a message and one after it, or all.
func (w *walker) compareHistory(r ports.Reader, want *modelRoom, final bool) error {
	w.t.Helper()
	if final {
		all, err := readHistory(r, want.ID)
		equalList(w.t, "messages", all, want.messages)
		return err
	}
	const few = 10
	seq := w.rand.Int64N(want.LastSeq + 1)
	after, err := r.MessagesAfter(want.ID, seq, few)
	equalList(w.t, fmt.Sprintf("messages after %d", seq), after, want.messages[seq:min(seq+few, want.LastSeq)])
	before, err2 := r.MessagesBefore(want.ID, seq+1, few)
	equalList(w.t, fmt.Sprintf("messages before %d", seq+1), before, want.messages[max(seq-few, 0):seq])
	return errors.Join(err, err2)
}

func (r *modelRoom) seqAt(rev int64) (seq int64) {
	for _, e := range r.log[:rev] {
		seq = max(seq, e.seq)
	}
	return seq
}

// compareUser reads a user's rooms, and where each device stands in them.
func (w *walker) compareUser(r ports.Reader, user domain.UserID) error {
	w.t.Helper()
	list, err := r.Rooms(domain.RoomQuery{User: user, Limit: page})
	equalList(w.t, fmt.Sprintf("rooms of %q", user), list, w.summaries(user, nil))
	if user != "" && err == nil {
		err = w.compareMates(r, user)
	}
	for _, device := range w.devices {
		if err != nil || user == "" {
			return err
		}
		if err = w.compareAcks(r, user, device); err != nil {
			return err
		}
		var got ports.Places
		got, err = r.Places(user, device)
		want := w.model.places(deviceOf{user, device})
		what := fmt.Sprintf("places of %s at %q: ", user, device)
		equalList(w.t, what+"rooms", got.Rooms, want.Rooms)
		equalList(w.t, what+"removed", sortedRemovals(got.Removed), want.Removed)
		equal(w.t, what+"known", got.Known, want.Known)
		equal(w.t, what+"seen at", got.SeenAt, want.SeenAt)
	}
	return err
}

// compareMates reads what there is to know of a user and of those who share rooms.
func (w *walker) compareMates(r ports.Reader, user domain.UserID) error {
	w.t.Helper()
	profile, err := r.User(user)
	if want, known := w.model.users[user]; known {
		equal(w.t, "the profile of "+string(user), profile, want)
	} else if wantError(w.t, "User of one not seen yet", err, domain.ErrUserNotFound); errors.Is(err, domain.ErrUserNotFound) {
		err = nil
	}
	mates, err2 := r.RoomMates(user, w.users)
	equalList(w.t, "room mates of "+string(user), byID(mates), w.model.mates(user))
	atMost := w.rand.IntN(len(w.users) + 1)
	small, err3 := r.SmallRooms(user, atMost)
	equalList(w.t, fmt.Sprintf("rooms of %s with at most %d", user, atMost), sorted(small), w.model.smallRooms(user, atMost))
	return errors.Join(err, err2, err3)
}

// compareAcks reads a user's rooms with what one device has acknowledged.
func (w *walker) compareAcks(r ports.Reader, user domain.UserID, device domain.DeviceID) error {
	w.t.Helper()
	list, err := r.Rooms(domain.RoomQuery{User: user, Device: &device, Limit: page})
	equalList(w.t, fmt.Sprintf("rooms of %q for %q", user, device), list, w.summaries(user, &device))
	return err
}
