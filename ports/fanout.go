package ports

import "github.com/chatapi/chatapi/domain"

// Frame is an event as sockets get it: encoded once, shared by all of them, never changed. The other fields are what
// the fan-out needs to know of it.
type Frame struct {
	Room  domain.RoomID
	Rev   int64 // the room's position; 0 for frames that are not part of a room's log
	Seq   int64 // of a message, else 0
	Kind  domain.EventKind
	User  domain.UserID // the member of a membership event, the sender of a message
	Bytes []byte        // as the socket writes it

	Notice domain.NotificationID // of a notification, else zero
	Stream domain.MessageID      // of the end of an answer, else zero
}

// Encoder turns what the core says into frames.
type Encoder interface {
	// Event encodes one step of a room's log.
	Event(domain.Event) Frame
	// Hint encodes something that is told and not kept; the frame has no Rev.
	Hint(domain.Hint) Frame
	// Again encodes a message that was sent before on the same socket and not acknowledged. It is no step of the log: the
	// frame has no Rev.
	Again(domain.Message) Frame
	// Notice encodes a notification; again says that it was sent before on the same socket and not acknowledged.
	Notice(n domain.Notification, again bool) Frame
	// StreamStart encodes the beginning of an answer, with what has come of it when that is anything.
	StreamStart(domain.StreamPart) Frame
	// StreamDelta encodes more of an answer, which had so many code points before.
	StreamDelta(p domain.StreamPart, points int, delta string) Frame
	// StreamEnd encodes the end of an answer for those who were shown its start: message.stream.end, or message.stream.error when
	// its meta tells of an error. Rev, Seq and Stream are set; the frame is a step of the log like the message's own.
	StreamEnd(domain.Message) Frame
	// StreamError encodes the end of an answer of which there is no message.
	StreamError(domain.StreamPart) Frame
	// SyncComplete ends the replay after a connect.
	SyncComplete(SyncReport) Frame
	// ResyncRequired tells a client that its place in these rooms is not in this log.
	ResyncRequired(epoch domain.Epoch, rooms []domain.RoomID) Frame
}

// SyncReport is what a replay sent: how many rooms and messages, where the client stands now, and what was left out.
type SyncReport struct {
	Rooms     int
	Messages  int
	Cursor    string
	Truncated []domain.Gap
	Confirm   bool // ask the client, in the frame, to show that it got this: the socket then calls Peer.Confirmed
}

// Sink is a socket as the fan-out sees it. All methods return at once: they never wait for the network.
type Sink interface {
	// Push queues a frame for writing, in order. It returns false when the bounded queue is full; the socket then calls
	// Peer.Drained once its queue has emptied, and the fan-out catches it up from the log.
	Push(Frame) bool
	// Hint queues a frame that may be lost: a socket that is slow goes without it, and it returns false.
	Hint(Frame) bool
	// Close ends the socket with a WebSocket close code after what is queued.
	Close(code int, reason string)
}
