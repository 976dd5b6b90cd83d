package application

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// inbox is how far a socket has been sent its user's notifications. Their order is that of their places, and like a room
// a socket is live when it has been sent all that there is, or has a task to be caught up. Guarded by its peer's mu.
type inbox struct {
	pos   int64 // up to this place everything was pushed
	live  bool  // gets every notification as it comes
	seen  int64 // the highest place heard of while not live
	again bool  // places may have been missed: not live before the store was read once more
	spent int64 // up to this place all attempts were made: the rest is another socket's
	given int64 // up to this place what was spent is a dead letter
	run   noticeRun
	last  noticeRun // the last whose attempts were spent
}

// noticeRun are notifications that were pushed and wait for their acknowledgement: all up to a place, to be pushed once
// more at a time.
type noticeRun struct {
	through  int64
	attempts int       // how often they were pushed; 0 = there is no run
	at       time.Time // of the last time
	due      time.Time // monotonic
}

// inboxStep is how many notifications one read takes.
const inboxStep = 100

// readInbox sends what the user has not acknowledged, as far as the socket takes it, and makes the inbox live once there
// is no more.
func (p *Peer) readInbox(ctx context.Context) (done bool, err error) {
	for {
		pos := p.beginRead()
		var notices []domain.Notice
		var last int64
		err := p.f.store.View(ctx, p.caller.Tenant.ID, func(r ports.Reader) (err error) {
			if last, err = r.LastNotice(); err != nil {
				return err
			}
			notices, err = r.Notices(p.caller.User, pos, inboxStep)
			return err
		})
		if err != nil {
			return false, err
		}
		for _, n := range notices {
			if !p.pushNotice(p.f.enc.Notice(n.Notification, false), n.Place) {
				return false, nil
			}
		}
		if len(notices) < inboxStep && p.settleInbox(last) {
			return true, nil
		}
	}
}

// beginRead returns where reading goes on.
func (p *Peer) beginRead() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.again = false
	return p.inbox.pos
}

// pushNotice pushes one that was read; false when the socket is full.
func (p *Peer) pushNotice(frame ports.Frame, place int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sink.Push(frame) {
		p.f.counters.overflows.Add(1)
		return false
	}
	p.pushedNotice(place)
	return true
}

// pushedNotice notes what was pushed. The caller holds mu.
func (p *Peer) pushedNotice(place int64) {
	p.f.counters.pushed.Add(1)
	p.inbox.pos = place
	switch u, now := &p.inbox.run, time.Now(); {
	case p.auto:
	case u.attempts == 0:
		*u = noticeRun{through: place, attempts: 1, at: p.f.clock.Now(), due: now.Add(p.f.cfg.Retry.Interval + p.f.grain)}
	case u.attempts == 1 && u.due.Sub(now) > p.f.cfg.Retry.Interval: // pushed a moment after the first
		u.through = place
	}
}

// settleInbox makes the inbox live when all up to last was pushed and nothing was heard of since.
func (p *Peer) settleInbox(last int64) bool {
	p.f.notices.begin(p.caller.Tenant.ID, last)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.pos = max(p.inbox.pos, last)
	p.inbox.live = p.inbox.seen <= p.inbox.pos && !p.inbox.again
	return p.inbox.live
}

// notice gives a live socket a notification as it comes. One whose queue is full is caught up later.
func (p *Peer) notice(frame ports.Frame, place int64) {
	p.mu.Lock()
	if p.closed || place <= p.inbox.pos {
		p.mu.Unlock()
		return
	}
	if !p.inbox.live {
		p.inbox.seen = max(p.inbox.seen, place)
		p.mu.Unlock()
		return
	}
	drains := p.drains.Load()
	if p.sink.Push(frame) {
		p.pushedNotice(place)
		p.mu.Unlock()
		return
	}
	p.f.counters.overflows.Add(1)
	p.inbox.live = false
	p.mu.Unlock()
	p.fallBehind(task{inbox: true}, drains)
}

// lookAgain has the inbox read once more because hints of it may be lost.
func (p *Peer) lookAgain() {
	p.mu.Lock()
	wasLive := p.inbox.live
	p.inbox.live, p.inbox.again = false, true
	p.mu.Unlock()
	if wasLive {
		p.addTask(task{inbox: true})
		p.kick()
	}
}

// noticesChannel carries notifications to all nodes, in the order of their commits.
const noticesChannel = "notices"

// appendNotice writes an event of a notification behind dst: its place, who has become its recipients, and the frame that
// their sockets get.
func appendNotice(dst []byte, enc ports.Encoder, e domain.Event) []byte {
	frame := enc.Notice(e.Notice.Notification, false)
	dst = append(dst, frame.Notice[:]...)
	dst = binary.AppendUvarint(dst, uint64(e.Notice.Place))
	dst = appendBytes(dst, string(e.Tenant))
	dst = binary.AppendUvarint(dst, uint64(len(e.Users)))
	for _, u := range e.Users {
		dst = appendBytes(dst, string(u))
	}
	return appendBytes(dst, frame.Bytes)
}

// noticeSignal is one such event as it was read.
type noticeSignal struct {
	tenant domain.TenantID
	place  int64
	users  []domain.UserID
	frame  ports.Frame
}

func readNotice(data []byte) (s noticeSignal, rest []byte, err error) {
	r := signalReader{data: data}
	s.frame.Kind = domain.EventNotification
	copy(s.frame.Notice[:], r.next(len(s.frame.Notice)))
	s.place = int64(r.number())
	s.tenant = domain.TenantID(r.bytes())
	for range min(r.number(), uint64(len(r.data))) {
		s.users = append(s.users, domain.UserID(r.bytes()))
	}
	s.frame.Bytes = r.bytes()
	if r.failed {
		return s, nil, errSignal
	}
	return s, r.data, nil
}

// receiveNotices brings notifications to the sockets of their recipients on this node. When one was lost on the way, the
// tenant's sockets look into the store.
func (f *Fanout) receiveNotices(s ports.Signal) {
	if s.Lost {
		for _, p := range f.peers() {
			p.lookAgain()
		}
		return
	}
	for rest := s.Payload; len(rest) > 0; {
		sig, more, err := readNotice(rest)
		if err != nil {
			f.log.Error("signal not understood", "error", err, "channel", noticesChannel)
			return
		}
		rest = more
		f.counters.received.Add(1)
		if f.notices.heard(sig.tenant, sig.place) {
			f.lookAgain(sig.tenant) // first: a socket that is given this one would pass over what is missing
		}
		for _, user := range sig.users {
			for _, p := range f.peersOf(ports.TenantUser{Tenant: sig.tenant, User: user}) {
				p.notice(sig.frame, sig.place)
			}
		}
	}
}

// lookAgain has all of a tenant's sockets look into the store for notifications.
func (f *Fanout) lookAgain(tenant domain.TenantID) {
	f.counters.repairs.Add(1)
	for _, p := range f.peers() {
		if p.caller.Tenant.ID == tenant {
			p.lookAgain()
		}
	}
}
