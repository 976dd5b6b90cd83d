package application_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// sings is a bot that takes ten seconds to answer.
func (p *theatre) sings() domain.RoomID {
	p.model.plays(says(time.Second, "la", " la", " la", " la", " la", " la", " la", " la", " la", " la"))
	return p.group("ann", "bob", p.bot().ID.String())
}

// all is everything that a client got.
func (c *client) all() []arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// joinedMidway fails unless what a client was shown last is an answer that it was sent from the middle to the end.
func joinedMidway(t *testing.T, shown []string) {
	t.Helper()
	begun := slices.IndexFunc(shown, func(s string) bool { return strings.HasPrefix(s, "start 1 \"la") })
	if begun < 0 || len(shown) < begun+3 || shown[len(shown)-1] != "end la la la la la la la la la la" {
		t.Errorf("was shown %q", shown)
	}
}

// TestWhoComesMidwaySeesTheAnswer, wherever the answer was heard of before, and however little of the room is new to them.
func TestWhoComesMidwaySeesTheAnswer(t *testing.T) {
	t.Parallel()
	t.Run("and nobody was there", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(p *theatre) {
			p.say("ann", p.sings(), "Sing")
			time.Sleep(3500 * time.Millisecond)
			ann, bob := p.connect("ann", "d"), p.connect("bob", "d")
			time.Sleep(20 * time.Second)
			joinedMidway(t, ann.shown())
			joinedMidway(t, bob.shown())
		})
	})
	t.Run("and has acknowledged everything", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(p *theatre) {
			room := p.sings()
			bob := p.connect("bob", "d")
			asked := p.say("ann", room, "Sing")
			ann := p.connect("ann", "d")
			ann.ack(room, asked.Seq)
			time.Sleep(1500 * time.Millisecond)
			ann.peer.Close()
			ann = p.connect("ann", "d")
			time.Sleep(20 * time.Second)
			joinedMidway(t, ann.shown())
			if shown := bob.shown(); slices.ContainsFunc(shown, func(s string) bool { return strings.HasPrefix(s, `start 1 "la`) }) {
				t.Errorf("bob, who was there, was shown %q", shown)
			}
		})
	})
	t.Run("and has become a member just now", func(t *testing.T) {
		t.Parallel()
		inTheatre(t, func(p *theatre) {
			room := p.sings()
			p.connect("ann", "d")
			cat := p.connect("cat", "d")
			p.say("ann", room, "Sing")
			time.Sleep(3500 * time.Millisecond)
			if _, err := p.rooms.AddMembers(context.Background(), p.as("ann"), room, application.NewMembers{UserIDs: []string{"cat"}}, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			joinedMidway(t, cat.shown())
		})
	})
}

// TestAnAnswerThatFailedWhileNobodyWasThereIsNotShown to who comes back a moment later.
func TestAnAnswerThatFailedWhileNobodyWasThereIsNotShown(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(func(yield func(ports.Piece, error) bool) {
			time.Sleep(3 * time.Second)
			yield(ports.Piece{}, &ports.ModelError{Code: domain.StreamRefused, Status: 401})
		})
		room := p.group("ann", p.bot().ID.String())
		ann := p.connect("ann", "d")
		p.say("ann", room, "Sing")
		time.Sleep(time.Second)
		if got := ann.shown(); got[len(got)-1] != `start 1 ""` {
			t.Fatalf("ann was shown %q", got)
		}
		ann.peer.Close()
		time.Sleep(5 * time.Second)
		if got := p.connect("ann", "d").shown(); !slices.Equal(got, []string{"message Sing"}) {
			t.Errorf("who came back was shown %q", got)
		}
	})
}

// TestASocketThatTakesNothingDelaysNobody: neither the model nor another reader, and nothing works for it meanwhile; reading
// again it gets the answer.
func TestASocketThatTakesNothingDelaysNobody(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		const words, pace = 200, 50 * time.Millisecond
		var said []time.Duration // guarded by mu
		var mu sync.Mutex
		begun := time.Now()
		p.model.plays(func(yield func(ports.Piece, error) bool) {
			for range words {
				time.Sleep(pace)
				mu.Lock()
				said = append(said, time.Since(begun))
				mu.Unlock()
				if !yield(ports.Piece{Text: "la "}, nil) {
					return
				}
			}
			yield(ports.Piece{Finish: domain.FinishStop}, nil)
		})
		room := p.group("ann", "bob", "cat", p.bot().ID.String())
		ann := p.connect("ann", "d")
		stuck := p.annex(p.bus)
		defer stuck.stopHall()
		full, half := stuck.watch("bob", "full", 1, 0), stuck.watch("cat", "half", 3, 0) // room for the replay's beginning
		time.Sleep(time.Second)
		p.say("ann", room, "Sing")
		time.Sleep(words*pace + 2*time.Second)
		mu.Lock()
		defer mu.Unlock()
		deltas := 0
		for _, f := range ann.all() {
			if f.Kind != "message.stream.delta" {
				continue
			}
			if late := f.at + ann.begun.Sub(begun) - said[deltas]; late > time.Millisecond {
				t.Errorf("word %d came %s late", deltas, late)
			}
			deltas++
		}
		if want := words * pace; deltas != words || said[words-1]-said[0] != want-pace {
			t.Errorf("%d words came, the model took %s for them, want %s", deltas, said[words-1]-said[0], want-pace)
		}
		closeAll([]*watcher{full, half})
		for _, w := range []*watcher{full, half} {
			if shown, told, last := w.judge(t, room, p.history(room)); shown+told != 2 || last != p.history(room)[1].Rev {
				t.Errorf("%s was shown %d answers and told %d messages: %s", w.name, shown, told, w.story(room))
			}
		}
	})
}

// TestARunThatDiedInARoomThatIsRemovedIsMadeOnce more, which finds that there is nothing to be done.
func TestARunThatDiedInARoomThatIsRemovedIsMadeOnce(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		bot := p.bot()
		room := p.group("ann", bot.ID.String())
		p.dies(bot, room, "")
		if err := p.rooms.Remove(context.Background(), p.as("ann"), room); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second) // the lease has passed
		p.openTheatre()
		stats, err := p.store.OutboxStats(context.Background())
		if err != nil || stats[domain.LaneBot].Waiting != 0 {
			t.Errorf("%d runs are left, %v", stats[domain.LaneBot].Waiting, err)
		}
	})
}

// TestAnAnswerThatWasShownEndsWhenItsWebhookSaysSkip: its server stopped before a word, and the next is told to be silent.
func TestAnAnswerThatWasShownEndsWhenItsWebhookSaysSkip(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(20*time.Second, "late"))
		room := p.group("ann", p.bot().ID.String())
		ann := p.connect("ann", "d")
		p.say("ann", room, "Hi?")
		time.Sleep(3 * time.Second)
		if shown := ann.shown(); len(shown) == 0 || !strings.HasPrefix(shown[len(shown)-1], "start") {
			t.Errorf("shown at first %q", shown)
		}
		p.closeTheatre()
		p.answers(func(int, ports.Attempt) ports.Outcome {
			return ports.Outcome{Result: ports.Delivered, Status: 200, Answer: []byte(`{"skip":true}`)}
		})
		p.openTheatre()
		time.Sleep(25 * time.Second) // the lease is 15 s, and what nobody tells any more is ended by its readers after 45
		if shown := ann.shown(); len(shown) == 0 || !strings.HasPrefix(shown[len(shown)-1], "error") || len(p.history(room)) != 1 {
			t.Errorf("shown %q", shown)
		}
	})
}

// TestAnAnswerTakesFiveMinutesAtMost: what was said by then is the message.
func TestAnAnswerTakesFiveMinutesAtMost(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(10*time.Second, slices.Repeat([]string{"la "}, 60)...)) // 10 minutes
		room := p.group("ann", p.bot().ID.String())
		p.say("ann", room, "Sing")
		time.Sleep(domain.RunTimeout - 5*time.Second)
		if n := len(p.history(room)); n != 1 {
			t.Errorf("%d messages before the time", n)
		}
		time.Sleep(30 * time.Second)
		if h := p.history(room); len(h) != 2 || meta(h[1]).Finish != "error" || !strings.HasPrefix(h[1].Content, "la la") {
			t.Errorf("history %+v", h)
		}
	})
}

// TestAnAnswerUnderWayIsHandedOnByAServerThatStops: whoever comes next ends it, once, with what was said.
func TestAnAnswerUnderWayIsHandedOnByAServerThatStops(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		p.model.plays(says(time.Second, slices.Repeat([]string{"la "}, 20)...))
		room := p.group("ann", p.bot().ID.String())
		p.say("ann", room, "Sing")
		time.Sleep(4 * time.Second)
		p.closeTheatre()
		p.openTheatre()
		time.Sleep(time.Minute)
		if h := p.history(room); len(h) != 2 || !strings.HasPrefix(h[1].Content, "la ") {
			t.Errorf("history %+v", h)
		}
	})
}

// TestAnAnswerInARoomThatIsRemovedEndsAtOnce: its run goes with the room, at whatever moment, and is not tried again.
func TestAnAnswerInARoomThatIsRemovedEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, words := range []int{1, 2, 30} { // it ends before its run looks at the room again, about then, and after
		inTheatre(t, func(p *theatre) {
			p.model.plays(says(200*time.Millisecond, slices.Repeat([]string{"la "}, words)...))
			room := p.group("ann", p.bot().ID.String())
			p.say("ann", room, "Sing")
			time.Sleep(100 * time.Millisecond)
			if err := p.rooms.Remove(context.Background(), p.as("ann"), room); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			stats, err := p.store.OutboxStats(context.Background())
			if err != nil || stats[domain.LaneBot].Waiting != 0 {
				t.Errorf("%d words: %d runs are left, %v", words, stats[domain.LaneBot].Waiting, err)
			}
		})
	}
}

// endsWith fails unless a client's last frames of a room are these, whatever comes of it later.
func endsWith(t *testing.T, c *client, room domain.RoomID, want ...string) {
	t.Helper()
	var got []string
	for _, f := range c.all() {
		switch {
		case f.Room != room:
		case f.Kind == domain.EventRoomRemoved:
			got = append(got, "room.removed")
		default:
			got = append(got, string(f.Bytes))
		}
	}
	if len(got) < len(want) || !slices.Equal(got[len(got)-len(want):], want) {
		t.Errorf("%s got %q, want %q in the end", c.user, got, want)
	}
}

// TestAnAnswerEndsForWhoIsRemovedMeanwhile, with what they were shown of it; the others see all of it.
func TestAnAnswerEndsForWhoIsRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		room := p.sings()
		ann, bob := p.connect("ann", "d"), p.connect("bob", "d")
		slow := p.connectAs(&client{h: p.hall, user: "bob", device: "slow", capacity: len(bob.all()) + 3}) // to a word of it
		p.say("ann", room, "Sing")
		time.Sleep(2500 * time.Millisecond)
		if err := p.rooms.RemoveMember(context.Background(), p.as("ann"), room, "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		slow.roomier(100)
		time.Sleep(time.Second)
		endsWith(t, bob, room, "delta 2+ la", "member.removed", `error REMOVED "la la"`, "room.removed")
		endsWith(t, slow, room, `error REMOVED "la"`, "room.removed")
		if shown := ann.shown(); shown[len(shown)-1] != "end la la la la la la la la la la" {
			t.Errorf("ann was shown %q", shown)
		}
	})
}

// TestWhoIsAMemberAgainSeesTheAnswerGoOn from a start of its own: the one before it has ended.
func TestWhoIsAMemberAgainSeesTheAnswerGoOn(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		room := p.sings()
		bob := p.connect("bob", "d")
		p.say("ann", room, "Sing")
		time.Sleep(2500 * time.Millisecond)
		if err := p.rooms.RemoveMember(context.Background(), p.as("ann"), room, "bob"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := p.rooms.AddMembers(context.Background(), p.as("ann"), room, application.NewMembers{UserIDs: []string{"bob"}}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		joinedMidway(t, bob.shown())
	})
}

// TestAnAnswerEndsForAllOfARoomThatIsRemoved before they are told so, on a socket that follows nothing else too.
func TestAnAnswerEndsForAllOfARoomThatIsRemoved(t *testing.T) {
	t.Parallel()
	inTheatre(t, func(p *theatre) {
		room := p.sings()
		ann := p.connect("ann", "d")
		follows := &client{h: p.hall, user: "bob", begun: time.Now()}
		var err error
		if follows.peer, err = p.fanout.Watch(context.Background(), p.as("bob"), room, follows); err != nil {
			t.Fatal(err)
		}
		p.say("ann", room, "Sing")
		time.Sleep(2500 * time.Millisecond)
		if err := p.rooms.Remove(context.Background(), p.as("ann"), room); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		for _, c := range []*client{ann, follows} {
			endsWith(t, c, room, "delta 2+ la", `error REMOVED "la la"`, "room.removed")
		}
	})
}
