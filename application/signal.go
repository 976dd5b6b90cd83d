package application

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// signal is one step of a room's log on its way over the bus: the frame that sockets get, and what the fan-out of
// every node must know of it.
type signal struct {
	tenant domain.TenantID
	users  []domain.UserID // who a membership event is about
	// number is one more number, by kind: of a step that changes who is in the room how many are (members), of typing 1
	// when it starts (typing), of hintAgain where the messages to be sent again end (through); 0 in all others.
	number int64
	// later says that the frame tells what may have come after its Rev. It is of this node, and not on the bus.
	later bool
	// end is what those get instead who were shown the start of the stream that the message ends.
	end ports.Frame
	ports.Frame
}

// kinds are the kinds of events and hints by their number in a signal; append only, nodes of two versions read each other.
var kinds = []domain.EventKind{
	domain.EventMessage, domain.EventMessageEdited, domain.EventMessageDeleted, domain.EventRoomCreated,
	domain.EventRoomUpdated, domain.EventRoomRemoved, domain.EventMemberAdded, domain.EventMemberRemoved,
	domain.EventMemberUpdated, domain.HintTyping, domain.HintAcked, domain.HintRead, domain.HintPresence,
	hintAgain, domain.EventHandoff, hintStream, orderTell, orderStop, orderHush, hintTenant, hintConfig, hintRevoked,
}

var errSignal = errors.New("malformed signal")

// newSignal encodes an event once for all its receivers.
func newSignal(enc ports.Encoder, e domain.Event) signal {
	s := signal{tenant: e.Tenant, users: e.Users, number: e.Members, Frame: enc.Event(e)}
	s.Room, s.Rev, s.Kind, s.Seq = e.Room, e.Rev, e.Kind, 0
	if e.Member != nil {
		s.users = []domain.UserID{e.Member.User}
	}
	if e.Message != nil && e.Kind == domain.EventMessage {
		s.Seq, s.User = e.Message.Seq, e.Message.Sender
		if e.Message.SenderType == domain.SenderBot {
			s.end = enc.StreamEnd(*e.Message)
			s.end.Room, s.end.Rev, s.end.Seq, s.end.Kind, s.end.Stream = e.Room, e.Rev, s.Seq, e.Kind, e.Message.ID
		}
	}
	return s
}

// members is how many are in the room since this step; 0 when it has not changed that.
func (s signal) members() int64 { return s.number }

// typing reports whether a hint of typing says that it goes on, so that its end is to be heard too.
func (s signal) typing() bool { return s.number != 0 }

// through is the last of the messages that hintAgain asks for; Seq is the first.
func (s signal) through() int64 { return s.number }

// appendSignal writes s behind dst.
func appendSignal(dst []byte, s signal) []byte {
	const fixed = 64 // enough for the numbers and the ids of most
	dst = slices.Grow(dst, fixed+len(s.tenant)+len(s.User)+len(s.Bytes))
	dst = append(dst, s.Room[:]...)
	dst = binary.AppendUvarint(dst, uint64(s.Rev))
	dst = binary.AppendUvarint(dst, uint64(s.Seq))
	dst = append(dst, byte(slices.Index(kinds, s.Kind)))
	dst = appendBytes(dst, string(s.tenant))
	dst = appendBytes(dst, string(s.User))
	dst = binary.AppendUvarint(dst, uint64(len(s.users)))
	for _, u := range s.users {
		dst = appendBytes(dst, string(u))
	}
	dst = binary.AppendUvarint(dst, uint64(s.number))
	dst = appendBytes(dst, s.Bytes)
	if dst = appendBytes(dst, s.end.Bytes); len(s.end.Bytes) > 0 {
		dst = append(dst, s.end.Stream[:]...)
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// readSignal reads one signal and returns what follows it. The frame shares data's memory.
func readSignal(data []byte) (s signal, rest []byte, err error) {
	r := signalReader{data: data}
	copy(s.Room[:], r.next(len(s.Room)))
	s.Rev, s.Seq = int64(r.number()), int64(r.number())
	kind := r.next(1)
	s.tenant = domain.TenantID(r.bytes())
	s.User = domain.UserID(r.bytes())
	for range min(r.number(), uint64(len(r.data))) {
		s.users = append(s.users, domain.UserID(r.bytes()))
	}
	s.number = int64(r.number())
	s.Bytes = r.bytes()
	if end := r.bytes(); len(end) > 0 {
		s.end = ports.Frame{Room: s.Room, Rev: s.Rev, Seq: s.Seq, User: s.User, Kind: domain.EventMessage, Bytes: end}
		copy(s.end.Stream[:], r.next(len(s.end.Stream)))
	}
	if r.failed || int(kind[0]) >= len(kinds) {
		return s, nil, errSignal
	}
	s.Kind = kinds[kind[0]]
	return s, r.data, nil
}

// signalReader reads the parts of a signal; after the first failure everything is empty.
type signalReader struct {
	data   []byte
	failed bool
}

func (r *signalReader) next(n int) []byte {
	if r.failed || n < 0 || n > len(r.data) {
		r.failed = true
		return []byte{0}
	}
	part := r.data[:n:n]
	r.data = r.data[n:]
	return part
}

func (r *signalReader) number() uint64 {
	n, size := binary.Uvarint(r.data)
	if r.failed || size <= 0 {
		r.failed = true
		return 0
	}
	r.data = r.data[size:]
	return n
}

func (r *signalReader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.data)) {
		r.failed = true
	}
	return r.next(int(min(n, uint64(len(r.data)))))
}
