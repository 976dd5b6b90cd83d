package application_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// inLateHall runs a scenario in which the node hears of what happens as late as the test wants.
func inLateHall(t *testing.T, s *seam, scenario func(h *hall, bus *lateBus)) {
	t.Helper()
	inPostOver(t, s.over, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		bus := &lateBus{Bus: p.bus}
		p.bus = bus
		h := &hall{post: p}
		h.openHall()
		scenario(h, bus)
		h.stopHall()
	})
}

// frames are all that a client got, with their kinds.
func (c *client) frames() (frames []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.got {
		frames = append(frames, fmt.Sprintf("%s %s", f.Kind, f.Bytes))
	}
	return frames
}

// pushes counts how often each notification was pushed.
func (c *client) pushes() map[string]int {
	n := map[string]int{}
	for _, text := range c.texts() {
		if text != "synced" {
			n[strings.TrimPrefix(text, "again ")]++
		}
	}
	return n
}

// noticeLetters are all dead letters of notifications.
func (p *post) noticeLetters() []domain.DeadLetter {
	given, err := p.letters.List(context.Background(), application.Overseer{Caller: p.backend()}, domain.MaxDeadLetters)
	if err != nil {
		p.t.Fatal(err)
	}
	return given.Notifications
}

// TestATickThatIsHeldUpMakesNoAttemptEarly: a room whose marks take a minute to be read makes others late at most.
func TestATickThatIsHeldUpMakesNoAttemptEarly(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		slow, other := h.group("bob", "ann"), h.group("bob", "cat")
		ann, cat := h.connect("ann", "desk"), h.connect("cat", "desk")
		s.afterFirst(func(l looked) bool { return l.marks == slow }, func() { time.Sleep(time.Minute) })
		first := time.Since(ann.begun).Seconds()
		h.send("bob", slow)
		time.Sleep(90 * time.Second) // the tick is held up from 34 s on
		second := time.Since(cat.begun).Seconds()
		h.send("bob", other)
		time.Sleep(12 * time.Minute)
		if got := cat.repeats(); !near(got, 12, second+30, second+90, second+210, second+450) {
			t.Errorf("sent at %v, again at %v", second, got)
		}
		if got := ann.repeats(); !near(got, 75, first+90, first+150, first+270, first+510) {
			t.Errorf("in the room itself sent at %v, again at %v", first, got)
		}
	})
}

// TestASocketThatHoldsUpATickMakesNoNotificationEarly for the others.
func TestASocketThatHoldsUpATickMakesNoNotificationEarly(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		var clients []*client
		for i := range 8 {
			clients = append(clients, h.connect(fmt.Sprint("u", i), "desk"))
		}
		h.notify(`{"n":1}`, "u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7")
		s.afterFirst(func(l looked) bool { return l.notices != "" }, func() { time.Sleep(time.Minute) })
		time.Sleep(12 * time.Minute)
		for _, c := range clients {
			got := c.repeats()
			if len(got) != 4 {
				t.Errorf("%s was sent it again at %v", c.user, got)
				return
			}
			for i, least := range []float64{60, 120, 240} {
				if got[i+1]-got[i] < least {
					t.Errorf("%s was sent it again at %v: the %d. wait is below %v s", c.user, got, i+2, least)
				}
			}
		}
	})
}

// TestEachOfManyNotificationsHasItsAttempts, pushed five times in all before it is given up.
func TestEachOfManyNotificationsHasItsAttempts(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		const n = 450
		h.notifyMany("ann", n)
		ann := h.connect("ann", "desk")
		time.Sleep(90 * time.Minute)
		pushes, letters := ann.pushes(), h.noticeLetters()
		for i := range n {
			if got := pushes[fmt.Sprintf(`{"n":%d}`, i)]; got != 5 {
				t.Errorf("notification %d was pushed %d times", i, got)
			}
		}
		given := map[domain.NotificationID]bool{}
		for _, l := range letters {
			given[l.Job.Notification] = true
			if l.Attempts != 5 {
				t.Errorf("given up after %d attempts", l.Attempts)
			}
		}
		if len(letters) != n || len(given) != n {
			t.Errorf("%d letters of %d notifications, want %d", len(letters), len(given), n)
		}
	})
}

// TestAClientThatIsSlowToAcknowledgeLosesNothing: a hundred with each round, the rest waits for its turn.
func TestAClientThatIsSlowToAcknowledgeLosesNothing(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		ids := h.notifyMany("ann", 450)
		ann := h.connect("ann", "desk")
		rounds := 0
		for acked := 0; acked < len(ids); rounds++ {
			before := len(ann.repeats())
			for range 200 {
				if len(ann.repeats()) > before {
					break
				}
				time.Sleep(10 * time.Second)
			}
			if len(ann.repeats()) == before {
				t.Errorf("nothing more was sent after %d were acknowledged", acked)
				return
			}
			for range min(100, len(ids)-acked) {
				ann.ackNotice(ids[acked])
				acked++
			}
		}
		time.Sleep(20 * time.Minute)
		if letters := h.noticeLetters(); len(letters) != 0 || rounds != 5 {
			t.Errorf("%d were given up in %d rounds", len(letters), rounds)
		}
		if got := h.connect("ann", "other").texts(); !slices.Equal(got, []string{"synced"}) {
			t.Errorf("%d frames are left", len(got))
		}
	})
}

// TestASocketThatHasSpentItsAttemptsDoesNotEndThemForAnother of the same user.
func TestASocketThatHasSpentItsAttemptsDoesNotEndThemForAnother(t *testing.T) {
	t.Parallel()
	for _, acks := range []bool{true, false} {
		t.Run(fmt.Sprint("acknowledged ", acks), func(t *testing.T) {
			t.Parallel()
			inHall(t, func(h *hall) {
				desk := h.connect("ann", "desk")
				id := h.notify(`{"n":1}`, "ann")
				time.Sleep(910 * time.Second)
				phone := h.connect("ann", "phone")
				time.Sleep(60 * time.Second) // the desk's are spent
				if n := len(h.noticeLetters()); n != 0 || desk.pushes()[`{"n":1}`] != 5 {
					t.Errorf("%d letters while the phone has attempts left, the desk %v", n, desk.pushes())
					return
				}
				if acks {
					phone.ackNotice(id)
				}
				time.Sleep(20 * time.Minute)
				letters, repeats := h.noticeLetters(), phone.repeats()
				if acks && (len(letters) != 0 || len(repeats) != 1) {
					t.Errorf("acknowledged by the phone: %d letters, again at %v", len(letters), repeats)
				}
				if !acks && (len(letters) != 1 || !near(repeats, 12, 30, 90, 210, 450)) {
					t.Errorf("%d letters, to the phone again at %v", len(letters), repeats)
				}
				if got := desk.pushes()[`{"n":1}`]; got != 5 {
					t.Errorf("to the desk %d times", got)
				}
			})
		})
	}
}

// TestWhatOneSocketHasSpentIsGivenUpWhenTheOtherCloses: its attempts will not be made.
func TestWhatOneSocketHasSpentIsGivenUpWhenTheOtherCloses(t *testing.T) {
	t.Parallel()
	inHall(t, func(h *hall) {
		desk := h.connect("ann", "desk")
		h.notify(`{"n":1}`, "ann")
		time.Sleep(910 * time.Second)
		phone := h.connect("ann", "phone")
		time.Sleep(60 * time.Second) // the desk's are spent
		h.notify(`{"n":2}`, "ann")   // has attempts left on both
		time.Sleep(10 * time.Second)
		before := len(h.noticeLetters())
		phone.peer.Close()
		time.Sleep(10 * time.Second)
		letters, pushes := h.noticeLetters(), desk.pushes()
		if before != 0 || len(letters) != 1 || letters[0].Attempts != 5 || letters[0].User != "ann" || pushes[`{"n":1}`] != 5 || pushes[`{"n":2}`] != 1 {
			t.Errorf("%d letters before the other closes, then %+v; pushed %v", before, letters, pushes)
		}
		time.Sleep(20 * time.Minute)
		if letters, pushes := h.noticeLetters(), desk.pushes(); len(letters) != 2 || pushes[`{"n":1}`] != 5 || pushes[`{"n":2}`] != 5 {
			t.Errorf("in the end %d letters; pushed %v", len(letters), pushes)
		}
	})
}

// TestNoOldTextComesAfterAChange that was made between reading a message and pushing it again.
func TestNoOldTextComesAfterAChange(t *testing.T) {
	t.Parallel()
	for kind, change := range map[domain.EventKind]func(h *hall, m domain.Message) error{
		domain.EventMessageDeleted: func(h *hall, m domain.Message) error {
			return h.messaging.Delete(context.Background(), h.as("bob"), m.Room, m.ID)
		},
		domain.EventMessageEdited: func(h *hall, m domain.Message) error {
			_, err := h.messaging.Edit(context.Background(), h.as("bob"), m.Room, m.ID, domain.Edit{Content: "changed"})
			return err
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := &seam{}
			inHallOver(t, s.over, func(h *hall) {
				room := h.group("bob", "ann")
				ann := h.connect("ann", "desk")
				m := h.send("bob", room)
				s.afterFirst(func(l looked) bool { return l.messages == room }, func() {
					if err := change(h, m); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Millisecond)
				})
				time.Sleep(time.Minute)
				noOldTextAfter(t, ann, string(kind), 1)
			})
		})
	}
}

// noOldTextAfter checks that a client was sent something again after a frame that begins so, but not the old text.
func noOldTextAfter(t *testing.T, c *client, begin string, repeats int) {
	t.Helper()
	frames := c.frames()
	i := slices.IndexFunc(frames, func(f string) bool { return strings.HasPrefix(f, begin) })
	if i < 0 || len(c.repeats()) != repeats || slices.ContainsFunc(frames[max(i, 0):], func(f string) bool { return strings.HasSuffix(f, "hi") }) {
		t.Errorf("got %q", frames)
	}
}

// TestNoOldTextComesToWhoWasCaughtUpWithTheChange before its node has heard of it.
func TestNoOldTextComesToWhoWasCaughtUpWithTheChange(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inLateHall(t, s, func(h *hall, bus *lateBus) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		m, other := h.send("bob", room), h.send("bob", room)
		if _, err := h.messaging.Edit(context.Background(), h.as("bob"), room, other.ID, domain.Edit{Content: "other"}); err != nil {
			t.Fatal(err) // from here on the store is read to catch up
		}
		s.afterFirst(func(l looked) bool { return l.messages == room }, func() {
			bus.late.Store(true)
			if err := h.messaging.Delete(context.Background(), h.as("bob"), room, m.ID); err != nil {
				t.Error(err)
			}
			from := int64(0)
			if _, err := ann.peer.Subscribe(context.Background(), room, &from); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		})
		time.Sleep(time.Minute)
		noOldTextAfter(t, ann, string(domain.EventMessageDeleted), 2)
	})
}

// TestAMessageThatCameToAnEmptyRoomIsWatched: nobody had a socket in it when it came, and the socket that takes a seat then
// has read the room's end before.
func TestAMessageThatCameToAnEmptyRoomIsWatched(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		room := h.group("bob", "ann")
		h.connect("ann", "desk").peer.Close() // the room is watched for another minute
		s.afterFirst(func(l looked) bool { return l.places == "ann" }, func() {
			h.send("bob", room)
			time.Sleep(time.Millisecond)
		})
		ann := h.connect("ann", "desk")
		time.Sleep(20 * time.Minute)
		if got, dead := ann.repeats(), h.dead(); !near(got, 12, 30, 90, 210, 450) || len(dead) != 1 {
			t.Errorf("got %q, again at %v, dead %+v", ann.texts(), got, dead)
		}
	})
}

// TestWhoIsRemovedGetsNothingThatWasWrittenAfterwards, also when the node hears late of the removal.
func TestWhoIsRemovedGetsNothingThatWasWrittenAfterwards(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]func(looked) bool{
		"before the messages are read": func(l looked) bool { return !l.marks.IsZero() && l.messages.IsZero() },
		"after the messages are read":  func(l looked) bool { return !l.messages.IsZero() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &seam{}
			inLateHall(t, s, func(h *hall, bus *lateBus) {
				room := h.group("bob", "ann")
				ann := h.connect("ann", "desk")
				m := h.send("bob", room)
				s.afterFirst(when, func() {
					bus.late.Store(true)
					if err := h.rooms.RemoveMember(context.Background(), h.as("bob"), room, "ann"); err != nil {
						t.Error(err)
					}
					if _, err := h.messaging.Edit(context.Background(), h.as("bob"), room, m.ID, domain.Edit{Content: "for those who stay"}); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(20 * time.Minute)
				got := ann.frames()
				if slices.ContainsFunc(got, func(f string) bool { return strings.Contains(f, "who stay") }) ||
					!strings.HasPrefix(got[len(got)-1], string(domain.EventRoomRemoved)) || len(h.dead()) != 0 {
					t.Errorf("got %q, dead %+v", got, h.dead())
				}
			})
		})
	}
}

// TestManySilentSocketsOfAUserCostOneLetter and one write, and after it nothing more is read for them.
func TestManySilentSocketsOfAUserCostOneLetter(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		room := h.group("bob", "ann")
		var clients []*client
		for range 60 {
			clients = append(clients, h.connect("ann", "desk"))
		}
		for range 20 {
			h.send("bob", room)
		}
		before := len(s.written())
		time.Sleep(20 * time.Minute)
		letters, writes := 0, s.written()[before:]
		for _, w := range writes {
			letters += w.letters
		}
		dead := h.dead()
		if len(dead) != 1 || dead[0].FromSeq != 1 || dead[0].ToSeq != 20 || letters != 1 || len(writes) > 5 || h.fanout.Stats().Unacknowledged != 1 {
			t.Errorf("dead %+v; a letter was written %d times, in %d writes", dead, letters, len(writes))
		}
		for i, c := range clients {
			if n := len(c.repeats()); n != 80 {
				t.Errorf("socket %d was sent %d messages again, want 80", i, n)
			}
		}
		read := s.marksRead()
		time.Sleep(20 * time.Minute)
		if n := s.marksRead(); n != read {
			t.Errorf("marks were read %d times for what was given up", n-read)
		}
	})
}

// TestAStoreThatCannotBeWrittenKeepsNoLetterBack: what could not be given up then is given up afterwards.
func TestAStoreThatCannotBeWrittenKeepsNoLetterBack(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		room := h.group("bob", "ann")
		ann := h.connect("ann", "desk")
		h.send("bob", room)
		h.notify(`{"n":1}`, "ann")
		s.breaks(func(w written) bool { return w.letters > 0 })
		time.Sleep(20 * time.Minute)
		s.breaks(nil)
		time.Sleep(time.Minute)
		given := h.given()
		if len(given.Messages) != 1 || len(given.Notifications) != 1 || len(ann.repeats()) != 8 {
			t.Errorf("given up %+v, sent again at %v", given, ann.repeats())
		}
	})
}
