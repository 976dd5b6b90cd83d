package application

import (
	"context"
	"maps"
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
		r.reached, r.unacked = nil, nil
		return false
	}
	if len(r.reached) > 0 && r.reached[0].at <= f.longAgo() {
		return true
	}
	for _, u := range r.unacked {
		if u.isDue(f) {
			return true
		}
	}
	return false
}

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
	here := make(map[*Peer]struct{}, len(r.unacked))
	for i := range r.seats {
		s := &r.seats[i]
		u := r.unacked[s.peer]
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
	maps.DeleteFunc(r.unacked, func(p *Peer, _ *unacked) bool { _, ok := here[p]; return !ok })
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
		due := r.findDue(f, marks)
		if len(due) == 0 {
			continue
		}
		tenant, err := f.tenants.Tenant(ctx, r.tenant)
		if err != nil {
			return err
		}
		retry := tenant.Config.RetryOf(f.cfg.Retry)
		for from, runs := range byFrom(due) {
			if err := f.redeliverUnacked(ctx, r, from, runs, retry); err != nil {
				return err
			}
		}
	}
	return nil
}

// redeliverUnacked pushes runs that begin at the same message once more, and gives up those whose attempts are spent.
func (f *Fanout) redeliverUnacked(ctx context.Context, r *liveRoom, from int64, runs map[*Peer]unacked, retry domain.Retry) error {
	st, err := f.readStretch(ctx, r, from, runs)
	if err != nil {
		return err
	}
	spent := map[*Peer]unacked{}
	again := map[*Peer]unacked{}
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

// giveUp makes runs dead letters, one for each user, and leaves them alone from then on.
func (f *Fanout) giveUp(ctx context.Context, r *liveRoom, spent map[*Peer]unacked, st stretch) error {
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
		if now := r.unacked[p]; now != nil && now.from == u.from && now.attempts == u.attempts {
			now.spent = true
		}
	}
	return nil
}

// byFrom has the runs that begin at the same message together: sockets that lag behind lag behind together.
func byFrom(due map[*Peer]unacked) map[int64]map[*Peer]unacked {
	groups := map[int64]map[*Peer]unacked{}
	for p, u := range due {
		if groups[u.from] == nil {
			groups[u.from] = map[*Peer]unacked{}
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
