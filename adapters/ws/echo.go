package ws

import (
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// A sender gets its message twice: as the room's event, and in the reply. Both leave the same commit, the event mostly a
// moment earlier. It waits in the queue for the reply, or for anything else that is written, and both go in one write:
// a write costs more than everything else a socket does for a message.

// expectEcho notes the room that a message is being sent to, until the command is done.
func (s *Session) expectEcho(room domain.RoomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendingTo = room
}

// echoes reports whether an event is the own message of a send under way. It is taken for that, too, when it is the
// user's message from another device to the same room, which then waits for this send's commit. The caller holds mu.
func (s *Session) echoes(f ports.Frame) bool {
	return s.handling && f.Kind == domain.EventMessage && f.Room == s.sendingTo && f.User == s.caller.User
}
