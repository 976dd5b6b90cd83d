package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var valueContracts = []contract{
	{"awkward contents come back byte for byte", contentsComeBack},
	{"meta comes back as it was: absent, empty and large", metaComesBack},
	{"awkward ids are different users, devices and clients", idsStayDifferent},
	{"times keep their milliseconds, far back and far ahead", timesComeBack},
	{"rooms come back whole: names, metadata and keys, absent and empty", roomsComeBack},
	{"every kind of sender and a reply come back", sendersComeBack},
	{"large numbers are positions like all others", largeNumbersAreAccepted},
}

// awkward are texts that stores have been known to change.
var awkward = []string{
	"x", " ", "  padded  ", "\t\n\r\n", "0", "007", "1e3", "NULL", "true", "{}", "[]", `"`,
	`it's a "quoted" \ back\\slash`, "100% _under_ *star*?", "'; drop table messages; --", "$1 ?1 :name @x",
	"🦊🏳️‍🌈👩‍👩‍👧‍👦", "𝔄𝔟𝔠 \U0010FFFD", "e\u0301 is not \u00e9", "שלום \u202eabc\u202c مرحبا",
	"line\u2028paragraph\u2029end", "\ufeffbom", "\x01\x1f\x7f\u0080\u009f", "\uffff\ufffe\ufdd0", "a\u200bb\u200dc",
	strings.Repeat("a", 128), strings.Repeat("🦊", 128),
}

func contentsComeBack(f *fixture) {
	room := f.group("ann")
	contents := append([]string{}, awkward...)
	contents = append(contents,
		strings.Repeat("y", domain.MaxMessageCeiling), strings.Repeat("🦊", domain.MaxMessageCeiling/4))
	for c := range 128 {
		if c > 0 { // every ASCII character by itself; NUL is refused at the edge
			contents = append(contents, string(rune(c)))
		}
	}
	want := make([]domain.Message, len(contents))
	for i, content := range contents {
		want[i] = f.send(room.ID, "ann", content)
		equal(f.t, "content as answered", want[i].Content, content)
	}
	f.storedAs(room.ID, want)
}

// storedAs compares a room's messages with want: the history, each alone, and in the log, before and after a restart.
func (f *fixture) storedAs(room domain.RoomID, want []domain.Message) {
	f.t.Helper()
	for range 2 {
		equalList(f.t, "history", f.history(room), want)
		_, events := f.dense(room)
		var logged []domain.Message
		for _, e := range events {
			if e.Kind == domain.EventMessage {
				logged = append(logged, *e.Message)
			}
		}
		equalList(f.t, "messages in the log", logged, want)
		f.view(func(r ports.Reader) error {
			for _, m := range want {
				got, err := r.Message(room, m.ID)
				if err != nil {
					return err
				}
				equal(f.t, "Message", got, m)
			}
			return nil
		})
		f.reopen()
	}
}

func metaComesBack(f *fixture) {
	room := f.group("ann")
	large := []byte(`{"k":"` + strings.Repeat("v", domain.MaxObject-8) + `"}`)
	metas := [][]byte{
		nil, []byte(`{}`), large, []byte(`{ "spaced" : 1.0 , "b":1e400 }`), []byte(`{"z":1,"a":2,"z2":"é\u00e9"}`),
		[]byte(`{"n":null,"s":"\u2028🦊\u0000"}`), []byte(strings.Repeat(`{"d":`, 31) + `{}` + strings.Repeat(`}`, 31)),
	}
	want := make([]domain.Message, len(metas))
	for i, meta := range metas {
		want[i] = f.sendDraft(room.ID, "ann", domain.Draft{Content: "with meta", Meta: bytes.Clone(meta)})
		equal(f.t, "meta as answered", want[i].Meta, meta)
	}
	f.storedAs(room.ID, want)
}

// ids are user ids of which no two are the same, however alike.
func awkwardIDs() []domain.UserID {
	ids := []domain.UserID{
		"ann", "Ann", "ANN", "ann ", " ann", "änn", "a\u0308nn", "1", "01", "1.0", "0x1", "a:b", "a%3Ab", "%", "_",
		"'", `"`, "`", `\`, "a'b", "a''b", "🦊", "🦊🦊", "NULL", "<b>", "a/b?c#d", "ﬀ", "ff",
	}
	long := strings.Repeat("é", domain.MaxUserID-1)
	return append(ids, domain.UserID(long), domain.UserID(long+"1"), domain.UserID(long+"2"))
}

func idsStayDifferent(f *fixture) {
	ids := awkwardIDs()
	room := f.group(ids...)
	equal(f.t, "users of the room", usersOf(f.membersNow(room.ID)), ids)
	var want []domain.Message
	for i, id := range ids {
		d := domain.Draft{Content: fmt.Sprint(i), ClientID: "same" + strings.Repeat("~", i)}
		want = append(want, f.sendDraft(room.ID, id, d))
		f.raise(room.ID, id, domain.DeviceID(`d'"%_~`+fmt.Sprint(i)), domain.Mark{DeliveredSeq: int64(i) + 1})
	}
	f.storedAs(room.ID, want)
	for i, id := range ids {
		equal(f.t, "the sender", want[i].Sender, id)
		got := f.place(room.ID, id, domain.DeviceID(`d'"%_~`+fmt.Sprint(i)))
		equal(f.t, "the mark of "+string(id), got.Mark.DeliveredSeq, int64(i)+1)
		equal(f.t, "the member", got.Member.User, id)
	}
}

// moments are times at the edges of what a message may carry.
var moments = []time.Time{
	time.Date(1969, time.December, 31, 23, 59, 59, 999e6, time.UTC),
	time.Date(1970, time.January, 1, 0, 0, 0, 0, time.UTC),
	time.Date(1970, time.January, 1, 0, 0, 0, 1e6, time.UTC),
	time.Date(1905, time.June, 30, 12, 0, 0, 7e6, time.UTC),
	time.Date(2026, time.February, 28, 23, 59, 59, 1e6, time.UTC),
	time.Date(2038, time.January, 19, 3, 14, 8, 123e6, time.UTC),
	time.Date(9999, time.December, 31, 23, 59, 59, 999e6, time.UTC),
}

func timesComeBack(f *fixture) {
	room := f.group("ann")
	var want []domain.Message
	for i, at := range moments {
		send := f.newSend("ann", domain.Draft{Content: at.String()})
		send.Now = at
		out, err := f.trySend(room.ID, send, nil)
		equal(f.t, "the error of Append", err, nil)
		equal(f.t, "created_at as answered", out.Message.CreatedAt, at)
		want = append(want, out.Message)
		f.timedRoom(at)
		f.timedMember(room.ID, fmt.Sprintf("user %d", i), at)
	}
	f.storedAs(room.ID, want)
}

func (f *fixture) timedRoom(at time.Time) {
	f.t.Helper()
	room, members := f.newRoom(domain.RoomGroup, "zoe")
	room.CreatedAt, members[0].JoinedAt = at, at
	f.create(room, members)
	equal(f.t, "created_at of a room", f.roomNow(room.ID).CreatedAt, at)
	equal(f.t, "joined_at of its member", f.membersNow(room.ID)[0].JoinedAt, at)
}

func (f *fixture) timedMember(room domain.RoomID, user string, at time.Time) {
	f.t.Helper()
	f.update(func(tx ports.Tx) error {
		_, err := tx.AddMember(room, domain.UserID(user), domain.RoleMember, at)
		return err
	})
	equal(f.t, "joined_at", f.memberNow(room, domain.UserID(user)).JoinedAt, at)
	events := f.log(room)
	equal(f.t, "the time of an event", events[len(events)-1].At, at)
}

func roomsComeBack(f *fixture) {
	large := []byte(`{"k":"` + strings.Repeat("v", domain.MaxObject-8) + `"}`)
	var want []domain.Room
	for i, text := range append([]string{""}, awkward...) {
		room, members := f.newRoom([]domain.RoomType{domain.RoomGroup, domain.RoomChannel, domain.RoomDM}[i%3], "ann")
		room.Name, room.Metadata = &text, [][]byte{nil, []byte(`{}`), large}[i%3]
		if i%3 == 2 {
			room.UniqueKey = "dm:ann:" + text
		}
		want = append(want, f.create(room, members))
		room.LastRev = 1
		equal(f.t, "the room as answered", want[i], room)
	}
	nameless := f.group("ann")
	want = append(want, nameless)
	equal(f.t, "the name of a room without", nameless.Name, nil)
	for range 2 {
		for _, room := range want {
			equal(f.t, "Access", f.roomNow(room.ID), room)
			if room.UniqueKey != "" {
				equal(f.t, "RoomByKey", f.roomByKey(room.UniqueKey), room)
			}
		}
		f.reopen()
	}
}

func sendersComeBack(f *fixture) {
	room := f.group("ann", "bot_1")
	var want []domain.Message
	for _, sender := range []struct {
		user domain.UserID
		kind domain.SenderType
	}{{"ann", domain.SenderUser}, {"bot_1", domain.SenderBot}, {"ann", domain.SenderSystem}} {
		d := domain.Draft{Content: "as " + string(sender.kind)}
		if len(want) > 0 {
			d.ReplyTo = want[0].ID.String()
		}
		send := f.newSend(sender.user, d)
		send.SenderType = sender.kind
		out, err := f.trySend(room.ID, send, nil)
		equal(f.t, "the error of Append", err, nil)
		equal(f.t, "reply_to as answered", out.Message.ReplyTo, send.ReplyTo)
		equal(f.t, "sender_type as answered", out.Message.SenderType, sender.kind)
		want = append(want, out.Message)
	}
	f.storedAs(room.ID, want)
}

// largeNumbersAreAccepted asks for positions far above what is there, as a client may.
func largeNumbersAreAccepted(f *fixture) {
	const most = 1<<53 - 1 // the largest integer that JSON clients count with
	room := f.group("ann")
	sent := f.sendMany(room.ID, "ann", 3)
	f.view(func(r ports.Reader) error {
		before, err := r.MessagesBefore(room.ID, most, page)
		equalList(f.t, "messages before a large seq", before, sent)
		after, err2 := r.MessagesAfter(room.ID, most, page)
		equalList(f.t, "messages after a large seq", after, nil)
		events, err3 := r.Events(ports.EventQuery{Room: room.ID, After: most, Limit: page})
		equalList(f.t, "events after a large rev", events, nil)
		events, err4 := r.Events(ports.EventQuery{Room: room.ID, Through: most, Limit: page})
		equal(f.t, "events through a large rev", len(events), 4)
		seq, err5 := r.SeqAt(room.ID, most)
		equal(f.t, "SeqAt a large rev", seq, int64(3))
		return errors.Join(err, err2, err3, err4, err5)
	})
	f.see("ann", "phone", 0)
	large := domain.Mark{DeliveredSeq: most, DeliveredRev: most}
	equal(f.t, "a large mark", f.raise(room.ID, "ann", "phone", large), large)
	equal(f.t, "a large mark, read", f.place(room.ID, "ann", "phone").Mark, large)
}
