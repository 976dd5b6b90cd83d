package ws

import (
	"testing"
	"testing/synctest"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// messageOf is the event of a message to the known room, as the fan-out pushes it.
func messageOf(user domain.UserID) ports.Frame {
	m := domain.Message{Room: knownRoom, Sender: user, SenderType: domain.SenderUser, Seq: 1, Rev: 1, Content: `"sender_id":"alice"`}
	f := Encoder{}.Event(domain.Event{Room: knownRoom, Rev: 1, Kind: domain.EventMessage, Message: &m})
	f.Room, f.Kind = knownRoom, domain.EventMessage
	return f
}

func TestEchoOfASendLeavesWithItsReply(t *testing.T) {
	for name, test := range map[string]struct {
		request string // request_id
		other   domain.UserID
		writes  int64 // before the send is done
		frames  int   // after it
	}{
		"the reply takes it along":       {`"request_id":"1",`, "", 0, 2},
		"no reply was asked for":         {``, "", 0, 1},
		"another's message takes it too": {`"request_id":"1",`, "bob", 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				c := f.dialPipe(t, "").greeted()
				f.sends.gate = make(chan struct{})
				c.say(`{"type":"send_message",` + test.request + `"room_id":"` + knownRoom.String() + `","content":"x"}`)
				synctest.Wait()
				before := f.Stats().Writes
				sink := f.rooms.peer(0).sink
				sink.Push(messageOf("alice"))
				if test.other != "" {
					sink.Push(messageOf(test.other))
					c.next()
					c.next()
				}
				synctest.Wait()
				if got := f.Stats().Writes - before; got != test.writes {
					t.Errorf("%d writes before the send was done, want %d", got, test.writes)
				}
				close(f.sends.gate)
				for range test.frames {
					c.next()
				}
				synctest.Wait()
				if got := f.Stats().Writes - before; got != test.writes+1 {
					t.Errorf("%d writes in all, want %d", got, test.writes+1)
				}
				sink.Push(messageOf("alice"))
				c.next()
			})
		})
	}
}
