package application

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Messages that were pushed to an open socket and are not acknowledged are pushed again: of each room the oldest run, on
// the schedule of domain.Retry, and when its attempts are spent it is a dead letter. Pushing costs nothing for that: a room
// remembers which message it had come to at what time, and when that is long enough ago the devices' marks are asked for.
// Only sockets that lag behind are remembered one by one.

// hintAgain asks all nodes to send messages again; no client sees it.
const hintAgain domain.EventKind = "again"

// reached is the message that a room had come to at a moment.
type reached struct {
	at  int64 // of Fanout.moment
	seq int64
}

// run is the oldest run of messages that one socket in a room was sent and has not acknowledged.
type run struct {
	from     int64 // the first
	to       int64 // the last as it was pushed again; 0 = not yet
	late     int64 // the last that should have been acknowledged by now
	attempts int   // how often it was pushed
	due      int64 // when something is to be done about it
	look     int64 // when to see whether it was acknowledged, at the latest
	at       time.Time
	asked    bool // a replay of a dead letter: pushed once more, whatever the socket was sent before
	spent    bool // given up: left alone until it is acknowledged
}

const (
	redeliverStep = 100 // messages of a run
	giveUpStep    = 100 // dead letters in one write
	minGrain      = 50 * time.Millisecond
	maxGrain      = 2 * time.Second
)

// grain is how exactly redelivery keeps its times: never early, and late by three of them at most.
func grainOf(retry domain.Retry) time.Duration { return min(max(retry.Interval/8, minGrain), maxGrain) }

// moment is the time since the start, which no clock that is set can change.
func (f *Fanout) moment() int64 { return int64(time.Since(f.started)) }

// redeliver looks, once a grain, for what is due.
func (f *Fanout) redeliver(ctx context.Context) {
	for sleep(ctx, f.grain) {
		for _, r := range f.overdue() {
			if err := f.redeliverRoom(ctx, r); ignoreGone(err) != nil && ctx.Err() == nil {
				f.log.Warn("messages not sent again", "error", err)
			}
		}
		for _, p := range f.peers() {
			if p.noticesDue() {
				if err := p.redeliverNotices(ctx); ignoreGone(err) != nil && ctx.Err() == nil {
					f.log.Warn("notifications not sent again", "error", err)
				}
			}
			if err := p.giveUpNotices(ctx); ignoreGone(err) != nil && ctx.Err() == nil {
				f.log.Warn("notifications not given up", "error", err)
			}
		}
	}
}

// overdue are the rooms that have something to be looked at.
func (f *Fanout) overdue() (rooms []*liveRoom) {
	for i := range f.shards {
		f.shards[i].each(func(r *liveRoom) {
			if r.isOverdue(f) {
				rooms = append(rooms, r)
			}
		})
	}
	return rooms
}

// noteReached remembers the message that the room has come to. The caller holds r.mu.
func (r *liveRoom) noteReached(f *Fanout) {
	now, n := f.moment(), len(r.reached)
	if n > 0 && now-r.reached[n-1].at < int64(f.grain) {
		r.reached[n-1].seq = r.lastSeq
		return
	}
	r.reached = append(r.reached, reached{now, r.lastSeq})
}

// isOverdue reports whether a message was given out long enough ago, or a run is due.
func (r *liveRoom) isOverdue(f *Fanout) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seats) == 0 {
		r.reached, r.runs = nil, nil
		return false
	}
	if len(r.reached) > 0 && r.reached[0].at <= f.longAgo() {
		return true
	}
	for _, u := range r.runs {
		if u.isDue(f) {
			return true
		}
	}
	return false
}

// isDue reports whether the run is to be looked at.
func (u *run) isDue(f *Fanout) bool { return u != nil && !u.spent && min(u.due, u.look) <= f.moment() }

// longAgo is the moment before which what was pushed should have been acknowledged.
func (f *Fanout) longAgo() int64 { return f.moment() - int64(f.cfg.Retry.Interval) - 2*int64(f.grain) }

// suspects are the sockets of a room whose marks are to be looked at: all that were sent what was given out long ago, and
// those with a run that is due.
func (r *liveRoom) suspects(f *Fanout) (peers []*Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var last reached
	for len(r.reached) > 0 && r.reached[0].at <= f.longAgo() {
		last = r.reached[0]
		r.reached = r.reached[1:]
	}
	if len(r.reached) == 0 {
		r.reached = nil
	}
	r.overdue = max(r.overdue, last.seq)
	here := make(map[*Peer]struct{}, len(r.runs))
	for i := range r.seats {
		s := &r.seats[i]
		u := r.runs[s.peer]
		if u != nil {
			here[s.peer] = struct{}{}
		}
		if s.state == behind || s.until > 0 || s.peer.auto && u == nil {
			continue
		}
		all := last.seq > 0 && s.since <= last.at+int64(f.grain)
		if all && u != nil {
			u.late = max(u.late, last.seq)
		}
		if all || u.isDue(f) {
			peers = append(peers, s.peer)
		}
	}
	maps.DeleteFunc(r.runs, func(p *Peer, _ *run) bool { _, ok := here[p]; return !ok })
	return peers
}

// lookOnceMore takes back that marks were looked at.
func (r *liveRoom) lookOnceMore(f *Fanout) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reached = slices.Insert(r.reached, 0, reached{f.longAgo(), r.overdue})
}

// redeliverRoom pushes again what is due in a room, or gives it up.
func (f *Fanout) redeliverRoom(ctx context.Context, r *liveRoom) (err error) {
	defer func() {
		if err != nil { // the rest of the room has not been looked at
			r.lookOnceMore(f)
		}
	}()
	for peers := range slices.Chunk(r.suspects(f), ports.MaxMarks) {
		marks, err := f.marks(ctx, r, peers)
		if err != nil {
			return err
		}
		due := r.findRuns(f, marks)
		if len(due) == 0 {
			continue
		}
		tenant, err := f.tenants.Tenant(ctx, r.tenant)
		if err != nil {
			return err
		}
		retry := tenant.Config.RetryOf(f.cfg.Retry)
		for from, runs := range byFrom(due) {
			if err := f.redeliverRuns(ctx, r, from, runs, retry); err != nil {
				return err
			}
		}
	}
	return nil
}

// byFrom has the runs that begin at the same message together: sockets that lag behind lag behind together.
func byFrom(due map[*Peer]run) map[int64]map[*Peer]run {
	groups := map[int64]map[*Peer]run{}
	for p, u := range due {
		if groups[u.from] == nil {
			groups[u.from] = map[*Peer]run{}
		}
		groups[u.from][p] = u
	}
	return groups
}

// marks are how far the devices of these sockets have followed the room; of those who are no members there is none.
func (f *Fanout) marks(ctx context.Context, r *liveRoom, peers []*Peer) (map[*Peer]domain.Mark, error) {
	devices := devicesOf(peers)
	found, err := ports.View(ctx, f.store, r.tenant, func(v ports.Reader) ([]ports.DeviceMark, error) { return v.Marks(r.id, devices) })
	if err != nil {
		return nil, err
	}
	return marksOf(peers, found), nil
}

func devicesOf(peers []*Peer) []ports.UserDevice {
	devices := make([]ports.UserDevice, len(peers))
	for i, p := range peers {
		devices[i] = ports.UserDevice{User: p.caller.User, Device: p.device}
	}
	return devices
}

func marksOf(peers []*Peer, found []ports.DeviceMark) map[*Peer]domain.Mark {
	marks := make(map[*Peer]domain.Mark, len(peers))
	for i, p := range peers {
		if found[i].OK {
			marks[p] = found[i].Mark
		}
	}
	return marks
}

// findRuns compares marks with what was sent, and returns copies of the runs that are due now.
func (r *liveRoom) findRuns(f *Fanout, marks map[*Peer]domain.Mark) map[*Peer]run {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := map[*Peer]run{}
	for i := range r.seats {
		s := &r.seats[i]
		mark, ok := marks[s.peer]
		if !ok {
			continue
		}
		u := r.findRun(f, s, mark.DeliveredSeq)
		if u == nil || u.spent {
			continue
		}
		u.look = f.moment() + int64(f.cfg.Retry.Interval)
		if u.due <= f.moment() {
			due[s.peer] = *u
		}
	}
	return due
}

// findRun is the run of a seat, a new one when the mark has come into the old one or there was none; nil when everything
// that should be is acknowledged. The caller holds r.mu.
func (r *liveRoom) findRun(f *Fanout, s *seat, mark int64) *run {
	u := r.runs[s.peer]
	first := max(mark+1, s.first)
	switch {
	case u != nil && u.asked && mark < u.to && !(s.peer.auto && u.attempts > 0):
		u.from = max(u.from, mark+1)
		return u
	case u != nil && !u.asked && first <= u.from:
		return u
	}
	late := r.overdue
	if u != nil && !u.asked { // of what the room has come to the socket may have been sent the end a moment ago
		late = u.late
	}
	wasSent := u != nil && !u.asked && first <= u.to
	delete(r.runs, s.peer)
	if first > late || s.peer.auto {
		return nil
	}
	u = &run{from: first, late: late, attempts: 1, due: f.moment(), at: f.clock.Now()}
	if wasSent { // a part was acknowledged: the rest has its time
		u.due += int64(f.cfg.Retry.Interval)
	}
	r.setRun(s.peer, u)
	return u
}

// setRun remembers a run. The caller holds r.mu.
func (r *liveRoom) setRun(p *Peer, u *run) {
	if r.runs == nil {
		r.runs = map[*Peer]*run{}
	}
	r.runs[p] = u
}

// stretch is what runs are made of, as it was in the store at one moment.
type stretch struct {
	messages []domain.Message
	frames   []ports.Frame
	rev      int64 // the room's position then
	marks    map[*Peer]domain.Mark
}

// redeliverRuns pushes runs that begin at the same message once more, and gives up those whose attempts are spent.
func (f *Fanout) redeliverRuns(ctx context.Context, r *liveRoom, from int64, runs map[*Peer]run, retry domain.Retry) error {
	st, err := f.readStretch(ctx, r, from, runs)
	if err != nil {
		return err
	}
	spent := map[*Peer]run{}
	again := map[*Peer]run{}
	for p, u := range runs {
		switch mark, member := st.marks[p]; {
		case !member || mark.DeliveredSeq >= u.from: // left, or acknowledged a moment ago: the next look finds out
		case u.asked && u.attempts == 0, !u.asked && !retry.IsSpent(u.attempts):
			again[p] = u
		default:
			spent[p] = u
		}
	}
	r.pushAgain(f, again, st)
	return f.giveUp(ctx, r, spent, st)
}

// readStretch reads the messages of runs and the marks of their devices in one snapshot.
func (f *Fanout) readStretch(ctx context.Context, r *liveRoom, from int64, runs map[*Peer]run) (st stretch, err error) {
	peers := slices.Collect(maps.Keys(runs))
	for _, p := range peers {
		f.delivery.flushDevice(ctx, p.caller, p.device)
	}
	devices := devicesOf(peers)
	var found []ports.DeviceMark
	err = f.store.View(ctx, r.tenant, func(v ports.Reader) error {
		room, _, err := v.Access(r.id, "")
		if err != nil {
			return err
		}
		st.rev = room.LastRev
		if found, err = v.Marks(r.id, devices); err != nil {
			return err
		}
		st.messages, err = v.MessagesAfter(r.id, from-1, redeliverStep)
		return err
	})
	if err != nil {
		return st, err
	}
	st.marks = marksOf(peers, found)
	st.frames = make([]ports.Frame, len(st.messages))
	for i, m := range st.messages {
		st.frames[i] = f.enc.Again(m)
	}
	return st, nil
}

// next is the last message of the run as it is to be pushed: it takes in what has become late since the last time, so that
// what came soon after the first is not left out of all attempts. A replay has what its dead letter had.
func (u run) next() int64 {
	if u.asked {
		return u.to
	}
	return u.late
}

// given is the last message of the run as it is given up: of what was pushed the last time, or, where nothing is pushed
// again, of what is late.
func (u run) given() int64 {
	if u.to > 0 {
		return u.to
	}
	return u.late
}

// through is how many of the stretch's messages there are up to a last one.
func (st stretch) through(last int64) (n int) {
	for n < len(st.messages) && st.messages[n].Seq <= last {
		n++
	}
	return n
}

// pushAgain pushes runs to their sockets, but for those that are being caught up or have left the room meanwhile. When there
// was more than messages in the room since they were read, or a socket has been sent more of the store than this node has
// heard of, they may not be what these sockets are to see, or see any more: then they are read again.
func (r *liveRoom) pushAgain(f *Fanout, runs map[*Peer]run, st stretch) {
	if len(runs) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed > st.rev {
		return
	}
	for i := range r.seats {
		s := &r.seats[i]
		was, ok := runs[s.peer]
		now := r.runs[s.peer]
		if !ok || now == nil || now.from != was.from || now.attempts != was.attempts || now.asked != was.asked ||
			s.state == behind || s.state == waiting && s.pos > st.rev || s.until > 0 {
			continue
		}
		n := st.through(was.next())
		if n == 0 {
			delete(r.runs, s.peer)
			continue
		}
		now.push(f, s.peer, st.frames[:n], st.messages[n-1].Seq)
	}
}

// push pushes a run once more. What a full queue does not take comes with the next attempt; nothing at all is none.
func (u *run) push(f *Fanout, p *Peer, frames []ports.Frame, last int64) {
	for i, frame := range frames {
		if p.sink.Push(frame) {
			f.counters.redelivered.Add(1)
			continue
		}
		if i == 0 {
			u.due = f.moment() + int64(f.grain)
			return
		}
		break
	}
	u.due = f.moment() + int64(f.cfg.Retry.Interval)<<min(u.attempts, 20)
	u.attempts++
	u.to, u.at = last, f.clock.Now()
}

// giveUp makes runs dead letters, one for each user, and leaves them alone from then on.
func (f *Fanout) giveUp(ctx context.Context, r *liveRoom, spent map[*Peer]run, st stretch) error {
	letters := map[domain.UserID]domain.DeadLetter{}
	for p, u := range spent {
		n := st.through(u.given())
		if n == 0 {
			continue
		}
		letter := domain.DeadLetter{
			Job:  domain.Job{Lane: domain.LaneSocket, Room: r.id, Message: st.messages[0].ID},
			User: p.caller.User, FromSeq: u.from, ToSeq: st.messages[n-1].Seq, Attempts: u.attempts, LastAttemptAt: u.at,
			Error: domain.NotAcknowledged, At: f.clock.Now(),
		}
		if before, ok := letters[p.caller.User]; ok {
			letter.ToSeq, letter.Attempts = max(letter.ToSeq, before.ToSeq), max(letter.Attempts, before.Attempts)
		}
		letters[p.caller.User] = letter
	}
	if len(letters) == 0 {
		return nil
	}
	for users := range slices.Chunk(slices.Sorted(maps.Keys(letters)), giveUpStep) {
		err := f.store.Update(ctx, r.tenant, func(tx ports.Tx) error {
			for _, user := range users {
				letter := letters[user]
				letter.ID = domain.DeadLetterID(f.ids.NewUUID())
				if err := tx.GrowDeadLetter(letter); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		f.counters.unacknowledged.Add(int64(len(users)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for p, u := range spent {
		if now := r.runs[p]; now != nil && now.from == u.from && now.attempts == u.attempts {
			now.spent = true
		}
	}
	return nil
}

// sendAgain has a run pushed once more to a user's sockets in the room: a dead letter is replayed.
func (r *liveRoom) sendAgain(f *Fanout, sig signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.seats {
		if s := &r.seats[i]; s.peer.caller.User == sig.User && s.until == 0 {
			r.setRun(s.peer, &run{from: sig.Seq, to: sig.members, due: f.moment(), asked: true})
		}
	}
}

// noticesDue reports whether notifications were pushed long enough ago to look whether they are acknowledged.
func (p *Peer) noticesDue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inbox.live && p.inbox.run.attempts > 0 && !time.Now().Before(p.inbox.run.due)
}

// redeliverNotices pushes those of the run that are not acknowledged once more, or leaves them when its attempts are spent.
func (p *Peer) redeliverNotices(ctx context.Context) error {
	p.f.delivery.flushDevice(ctx, p.caller, p.device)
	p.mu.Lock()
	u, after := p.inbox.run, p.inbox.spent
	p.mu.Unlock()
	waiting, err := ports.View(ctx, p.f.store, p.caller.Tenant.ID, func(r ports.Reader) ([]domain.Notice, error) {
		return r.Notices(p.caller.User, after, redeliverStep)
	})
	if err != nil {
		return err
	}
	waiting = slices.DeleteFunc(waiting, func(n domain.Notice) bool { return n.Place > u.through })
	if len(waiting) == 0 {
		p.nextNotices(u.through)
		return nil
	}
	last := waiting[len(waiting)-1].Place // what comes behind is another run
	tenant, err := p.f.tenants.Tenant(ctx, p.caller.Tenant.ID)
	if err != nil {
		return err
	}
	if !tenant.Config.RetryOf(p.f.cfg.Retry).IsSpent(u.attempts) {
		p.pushNoticesAgain(waiting, last)
		return nil
	}
	p.noteSpent(u, last)
	p.nextNotices(last)
	return nil
}

// noteSpent remembers the run whose attempts were the last up to a place.
func (p *Peer) noteSpent(u noticeRun, place int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.spent, p.inbox.last = place, u
}

// nextNotices begins a run of what was pushed since the last one.
func (p *Peer) nextNotices(through int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := noticeRun{}
	if p.inbox.pos > through {
		next = noticeRun{through: p.inbox.pos, attempts: 1, at: p.f.clock.Now(), due: time.Now().Add(p.f.cfg.Retry.Interval)}
	}
	p.inbox.run = next
}

// pushNoticesAgain pushes a run once more, as far as the socket takes it.
func (p *Peer) pushNoticesAgain(waiting []domain.Notice, last int64) {
	frames := make([]ports.Frame, len(waiting))
	for i, n := range waiting {
		frames[i] = p.f.enc.Notice(n.Notification, true)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u := &p.inbox.run
	u.through, u.at = last, p.f.clock.Now()
	for i, frame := range frames {
		if p.closed || !p.sink.Push(frame) {
			if i == 0 {
				u.due = time.Now().Add(p.f.grain)
				return
			}
			break
		}
		p.f.counters.redelivered.Add(1)
	}
	u.due = time.Now().Add(p.f.cfg.Retry.Interval << min(u.attempts, 20))
	u.attempts++
}

// giveUpNotices moves what the socket has spent its attempts for to the dead letters, but for what was acknowledged at the
// last moment, and what another of the user's sockets here has attempts left for: that waits until the other has spent them
// too, or has closed.
func (p *Peer) giveUpNotices(ctx context.Context) error {
	p.mu.Lock()
	u, given, spent := p.inbox.last, p.inbox.given, p.inbox.spent
	p.mu.Unlock()
	if spent <= given {
		return nil
	}
	for all := p.spentByAll(); given < all; {
		waiting, err := ports.View(ctx, p.f.store, p.caller.Tenant.ID, func(r ports.Reader) ([]domain.Notice, error) {
			return r.Notices(p.caller.User, given, giveUpStep)
		})
		if err != nil {
			return err
		}
		next := all
		if len(waiting) == giveUpStep {
			next = min(all, waiting[len(waiting)-1].Place)
		}
		waiting = slices.DeleteFunc(waiting, func(n domain.Notice) bool { return n.Place > all })
		if err := p.moveNotices(ctx, u, waiting); err != nil {
			return err
		}
		given = next
		p.noteGiven(given)
	}
	return nil
}

// noteGiven remembers up to which place nothing is left to be given up.
func (p *Peer) noteGiven(place int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox.given = place
}

// moveNotices moves a user's notifications to the dead letters, those that still wait.
func (p *Peer) moveNotices(ctx context.Context, u noticeRun, waiting []domain.Notice) error {
	if len(waiting) == 0 {
		return nil
	}
	at := p.f.clock.Now()
	given, err := ports.Update(ctx, p.f.store, p.caller.Tenant.ID, func(tx ports.Tx) (given int64, err error) {
		for _, n := range waiting {
			letter := domain.DeadLetter{
				ID:  domain.DeadLetterID(p.f.ids.NewUUID()),
				Job: domain.Job{Lane: domain.LaneSocket, Notification: n.ID}, User: p.caller.User,
				Attempts: u.attempts, LastAttemptAt: u.at, Error: domain.NotAcknowledged, At: at,
			}
			was, err := moveNotice(tx, letter)
			if err != nil {
				return given, err
			}
			if was {
				given++
			}
		}
		return given, nil
	})
	p.f.counters.unacknowledged.Add(given)
	return err
}

// moveNotice puts a dead letter in the place of a notification that waits; was is false when it does not any more.
func moveNotice(tx ports.Tx, letter domain.DeadLetter) (was bool, err error) {
	if err := tx.AddDeadLetter(letter); err != nil { // first: somebody needs the payload all the time
		return false, err
	}
	was, err = tx.SettleNotice(letter.User, letter.Job.Notification)
	if ignoreGone(err) != nil || was {
		return was, err
	}
	_, err = tx.TakeDeadLetter(letter.ID)
	return false, err
}

// spentByAll is the place up to which all of the user's sockets here have spent their attempts. Those that acknowledge by
// themselves have none.
func (p *Peer) spentByAll() int64 {
	least := int64(math.MaxInt64)
	for _, other := range p.f.peersOf(ports.TenantUser{Tenant: p.caller.Tenant.ID, User: p.caller.User}) {
		if other.auto {
			continue
		}
		other.mu.Lock()
		least = min(least, other.inbox.spent)
		other.mu.Unlock()
	}
	return least
}
