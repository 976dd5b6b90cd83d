package application

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// liveStream is an answer on its way, as a live room knows it.
type liveStream struct {
	domain.StreamPart           // Text is all that has come
	held              bool      // the log has not come to what it answers: its start waits for that
	silent            bool      // there was a handoff since: nothing more of it is shown
	heard             time.Time // monotonic
}

// shown is a stream whose start a socket has got, and which has not ended for it.
type shown struct {
	id      domain.MessageID
	attempt int
	text    string      // what it was sent of it
	points  int         // code points of that
	end     ports.Frame // the end that its socket has not taken; Bytes are nil while there is none
}

// goesOnWith reports whether more of a stream continues what was shown. A later attempt does not: its start comes first.
func (o *shown) goesOnWith(st *liveStream) bool {
	return o.id == st.Message && o.attempt == st.Attempt && len(o.text) <= len(st.Text)
}

// hintStream carries parts of streams on the channel of their room; no client sees it.
const hintStream domain.EventKind = "stream"

// streamUnheard is after which silence a stream is looked up in the store: its run says something every ten seconds.
const streamUnheard = 45 * time.Second

// newStreamSignal makes the hint of a part.
func newStreamSignal(p domain.StreamPart) signal {
	s := signal{tenant: p.Tenant}
	s.Room, s.Kind, s.User, s.Seq = p.Room, hintStream, p.Bot, int64(p.Attempt)
	b := append(append([]byte{}, p.Message[:]...), p.ReplyTo[:]...)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(p.Since)), uint64(p.Offset))
	b = append(b, 0)
	if p.Begin {
		b[len(b)-1] = 1
	}
	s.Bytes = appendBytes(appendBytes(b, string(p.Failed)), p.Text)
	return s
}

func readStreamPart(s signal) (p domain.StreamPart, ok bool) {
	r := signalReader{data: s.Bytes}
	p = domain.StreamPart{Tenant: s.tenant, Room: s.Room, Bot: s.User, Attempt: int(s.Seq)}
	copy(p.Message[:], r.next(len(p.Message)))
	copy(p.ReplyTo[:], r.next(len(p.ReplyTo)))
	p.Since, p.Offset = int64(r.number()), int(r.number())
	p.Begin = r.next(1)[0] == 1
	p.Failed = domain.StreamCode(r.bytes())
	p.Text = string(r.bytes())
	return p, !r.failed && p.Offset >= 0
}

// stream takes a part of an answer. What does not continue what is known is asked for from the beginning. Of an attempt that
// another has taken the place of nothing counts, not even how it failed: its run has lost the answer, and does not know yet.
func (r *liveRoom) stream(f *Fanout, sig signal) {
	part, ok := readStreamPart(sig)
	if !ok {
		f.log.Error("part of a stream not understood")
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended > 0 || len(r.seats) == 0 {
		r.streams = nil // they go on unheard: who comes asks for what goes on then
		return
	}
	if slices.Contains(r.over, part.Message) {
		return
	}
	known := r.streams[part.Message]
	switch {
	case known != nil && part.Attempt < known.Attempt:
		return
	case part.Failed != "" && known != nil && known.held:
		known.Failed, known.Text = part.Failed, part.Text
	case part.Failed != "":
		r.failStream(f, part)
	case known == nil && part.Since < r.from: // before that there may have been a handoff, which the run must look for
		f.askFor(part)
	case part.Begin && (known == nil || part.Attempt > known.Attempt):
		r.beginStream(f, part)
	case part.Begin && len(part.Text) > len(known.Text):
		known.heard = time.Now()
		r.growStream(f, known, part.Text[len(known.Text):])
	case part.Begin:
		known.heard = time.Now()
	case known == nil || part.Attempt != known.Attempt || part.Offset > len(known.Text):
		f.askFor(part)
	default:
		known.heard = time.Now()
		if skip := len(known.Text) - part.Offset; skip < len(part.Text) {
			r.growStream(f, known, part.Text[skip:])
		}
	}
}

// beginStream shows the start of an answer, or of its next attempt, to everybody who is live. The caller holds r.mu.
func (r *liveRoom) beginStream(f *Fanout, part domain.StreamPart) {
	if r.streams == nil {
		r.streams = map[domain.MessageID]*liveStream{}
	}
	st := &liveStream{StreamPart: part, held: part.Since > r.last, silent: part.Since < r.handed, heard: time.Now()}
	r.streams[part.Message] = st
	r.showStream(f, st)
}

// showStream shows the start of an answer to everybody who is live. The caller holds r.mu.
func (r *liveRoom) showStream(f *Fanout, st *liveStream) {
	if st.held || st.silent {
		return
	}
	start, points := f.enc.StreamStart(st.StreamPart), utf8.RuneCountInString(st.Text)
	for i := range r.seats {
		if s := &r.seats[i]; s.state == live && s.until == 0 && s.push(f, r, start, r.last) {
			s.noteShown(st, points)
		}
	}
}

// follow brings the streams of a room to a step of its log, before anybody gets that: one that becomes a message is over,
// those older than a handoff fall silent, and nothing more begins in a room that is removed. The caller holds r.mu.
func (r *liveRoom) follow(sig signal) {
	if sig.end.Bytes != nil {
		r.streamOver(sig.end.Stream)
	}
	switch sig.Kind {
	case domain.EventRoomRemoved:
		r.streams = nil
	case domain.EventHandoff:
		r.handed = sig.Rev
		for _, st := range r.streams {
			st.silent = st.silent || st.Since < r.handed
		}
	}
}

// showHeld shows the streams whose start has waited for a step of the log, and the end of those that have failed meanwhile.
// The caller holds r.mu.
func (r *liveRoom) showHeld(f *Fanout) {
	for _, st := range r.streams {
		if !st.held || st.Since > r.last {
			continue
		}
		st.held = false
		if r.showStream(f, st); st.Failed != "" {
			r.failStream(f, st.StreamPart)
		}
	}
}

func (s *seat) noteShown(st *liveStream, points int) {
	s.hide(st.Message)
	s.shown = append(s.shown, shown{id: st.Message, attempt: st.Attempt, text: st.Text, points: points})
}

// showAll gives a seat that becomes live the ends that it has missed, and the streams that are under way, each with its text
// so far; false when its socket does not take them now. The caller holds r.mu.
func (s *seat) showAll(f *Fanout, r *liveRoom) bool {
	if !s.endShown(f, func(o shown) ports.Frame { return o.end }) {
		return false
	}
	for _, st := range r.streams {
		if st.held || st.silent || s.until > 0 || slices.ContainsFunc(s.shown, func(o shown) bool { return o.goesOnWith(st) }) {
			continue
		}
		if !s.take(f, f.enc.StreamStart(st.StreamPart)) {
			return false
		}
		s.noteShown(st, utf8.RuneCountInString(st.Text))
	}
	return true
}

// endShown gives a seat the ends of the streams that it was shown, those that end names; false when its socket does not take
// them now. The caller holds r.mu.
func (s *seat) endShown(f *Fanout, end func(shown) ports.Frame) bool {
	for _, o := range slices.Clone(s.shown) {
		frame := end(o)
		if frame.Bytes == nil {
			continue
		}
		if !s.take(f, frame) {
			return false
		}
		s.hide(o.id)
	}
	return true
}

// cutShown ends all that a seat was shown, with what it was sent of it: the next it gets is that the room is gone for it, and
// what an answer came to be is not its user's to see. The caller holds r.mu.
func (s *seat) cutShown(f *Fanout, r *liveRoom) bool {
	return s.endShown(f, func(o shown) ports.Frame {
		return f.enc.StreamError(domain.StreamPart{
			Tenant: r.tenant, Room: r.id, Message: o.id, Attempt: o.attempt, Failed: domain.StreamRemoved, Text: o.text,
		})
	})
}

// hide forgets that a seat was shown a stream. The caller holds r.mu.
func (s *seat) hide(id domain.MessageID) {
	s.shown = slices.DeleteFunc(s.shown, func(o shown) bool { return o.id == id })
	if len(s.shown) == 0 {
		s.shown = nil
	}
}

// growStream adds to an answer and sends each socket what it has not got of it: one that takes nothing now gets more with
// the next part. The caller holds r.mu.
func (r *liveRoom) growStream(f *Fanout, st *liveStream, more string) {
	before := len(st.Text)
	st.Text += more
	if st.silent {
		return
	}
	var common ports.Frame
	var commonPoints int
	for i := range r.seats {
		s := &r.seats[i]
		if s.state != live || s.until > 0 {
			continue
		}
		for k := range s.shown {
			o := &s.shown[k]
			if !o.goesOnWith(st) {
				continue
			}
			frame, added := common, commonPoints
			if len(o.text) != before || common.Bytes == nil {
				rest := st.Text[len(o.text):]
				frame, added = f.enc.StreamDelta(st.StreamPart, o.points, rest), utf8.RuneCountInString(rest)
			}
			if len(o.text) == before {
				common, commonPoints = frame, added
			}
			if s.peer.sink.Hint(frame) {
				o.text, o.points = st.Text, o.points+added
			}
		}
	}
}

// failStream ends a stream of which there is no message. The caller holds r.mu.
func (r *liveRoom) failStream(f *Fanout, part domain.StreamPart) {
	r.closeStream(f, part.Message, f.enc.StreamError(part))
}

// closeStream sends the end of a stream to everybody who was shown its start: to those who are not live once they are, unless
// the log or the end of their seat ends it before. The caller holds r.mu.
func (r *liveRoom) closeStream(f *Fanout, id domain.MessageID, frame ports.Frame) {
	r.streamOver(id)
	for i := range r.seats {
		s := &r.seats[i]
		k := slices.IndexFunc(s.shown, func(o shown) bool { return o.id == id })
		switch {
		case k < 0:
		case s.state == live && s.push(f, r, frame, r.last):
			s.hide(id)
		default:
			s.shown[k].end = frame
		}
	}
}

// rememberOver is how many streams that have ended a room remembers.
const rememberOver = 16

// streamOver forgets a stream, and remembers that it has ended: a part that comes late begins none. The caller holds r.mu.
func (r *liveRoom) streamOver(id domain.MessageID) {
	delete(r.streams, id)
	if r.over = append(r.over, id); len(r.over) > rememberOver {
		r.over = slices.Delete(r.over, 0, 1)
	}
}

// frameFor is what a seat gets of a step of the log: who was shown the start of a stream gets its end, and everybody else
// the message. The caller holds r.mu.
func (s *seat) frameFor(sig signal) (frame ports.Frame, ended bool) {
	if sig.end.Bytes != nil && slices.ContainsFunc(s.shown, func(o shown) bool { return o.id == sig.end.Stream }) {
		return sig.end, true
	}
	return sig.Frame, false
}

// askFor has the run of a stream tell all of it once more.
func (f *Fanout) askFor(part domain.StreamPart) {
	f.publish(context.Background(), runsChannel, appendSignal(nil, newOrder(orderTell, part.Tenant, part.Room, part.Message)))
}

// endOf is the end of a stream as the store has it; over is false when it goes on.
func (f *Fanout) endOf(ctx context.Context, part domain.StreamPart) (end ports.Frame, over bool, err error) {
	var message domain.Message
	err = f.store.View(ctx, part.Tenant, func(v ports.Reader) (err error) {
		if _, err := v.Stream(part.Room, part.Message); !errors.Is(err, domain.ErrMessageNotFound) {
			return err
		}
		over = true
		message, err = v.Message(part.Room, part.Message)
		return err
	})
	if errors.Is(err, domain.ErrMessageNotFound) {
		part.Failed = domain.StreamInterrupted
		return f.enc.StreamError(part), true, nil
	}
	if err != nil || !over {
		return end, over, err
	}
	end = f.enc.StreamEnd(message)
	end.Rev = message.FirstRev
	return end, true, nil
}

// lostStreams are those that were not heard of for too long.
func (r *liveRoom) lostStreams(now time.Time) (lost []domain.StreamPart) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range r.streams {
		if now.Sub(st.heard) > streamUnheard {
			lost = append(lost, st.StreamPart)
		}
	}
	return lost
}

// sweepStreams ends what has ended in the store and was not heard of: its node has died, and so did the hint of its end.
func (f *Fanout) sweepStreams(ctx context.Context) {
	for i := range f.shards {
		f.shards[i].each(func(r *liveRoom) {
			for _, part := range r.lostStreams(time.Now()) {
				end, over, err := f.endOf(ctx, part)
				if err != nil || !over {
					continue
				}
				r.mu.Lock()
				if end.Rev <= r.last { // else it comes with the log
					r.closeStream(f, part.Message, end)
				}
				r.mu.Unlock()
			}
		})
	}
}

// frameFor is the seat's frameFor, for who does not hold mu.
func (r *liveRoom) frameFor(p *Peer, sig signal) (frame ports.Frame, ended bool) {
	if sig.end.Bytes == nil {
		return sig.Frame, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.seatOf(p); s != nil {
		return s.frameFor(sig)
	}
	return sig.Frame, false
}

// hide is the seat's hide, for who does not hold mu.
func (r *liveRoom) hide(p *Peer, id domain.MessageID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.seatOf(p); s != nil {
		s.hide(id)
	}
}

// cutShown is the seat's cutShown, for who does not hold mu.
func (r *liveRoom) cutShown(p *Peer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seatOf(p)
	return s == nil || s.cutShown(p.f, r)
}
