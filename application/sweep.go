package application

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Rooms with sockets are compared with the store about once a second, so that a lost hint costs a delay and never an
// event. A room found ahead in the store gets a moment to hear of it before its log is read.
const (
	sweepEvery   = time.Second
	sweepGrace   = 200 * time.Millisecond
	sweepGather  = 50 * time.Millisecond // of channels that tell one after the other that hints are lost
	sweepStep    = 500                   // rooms in one read
	keepEmptyFor = time.Minute
)

func (f *Fanout) sweep(ctx context.Context) {
	for {
		wait := sweepEvery - sweepGrace + rand.N(sweepEvery/5) - sweepEvery/10
		if !f.sleepUnlessLost(ctx, wait) {
			return
		}
		f.evict()
		f.sweepNotices(ctx)
		f.sweepStreams(ctx)
		ahead := f.lookAhead(ctx)
		if len(ahead) > 0 && !sleep(ctx, sweepGrace) {
			return
		}
		for _, r := range ahead {
			f.repairIfBehind(r)
		}
	}
}

// sleepUnlessLost sleeps until the next sweep, which is due at once when hints were lost.
func (f *Fanout) sleepUnlessLost(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-f.lost:
		return sleep(ctx, sweepGather)
	}
}

// sweepNotices compares what this node has heard of notifications with the store.
func (f *Fanout) sweepNotices(ctx context.Context) {
	for _, tenant := range f.notices.all(f.present) {
		last, err := ports.View(ctx, f.store, tenant, func(r ports.Reader) (int64, error) { return r.LastNotice() })
		switch {
		case ignoreGone(err) != nil && ctx.Err() == nil:
			f.log.Warn("notifications not compared with the store", "error", err)
		case err == nil && f.notices.swept(tenant, last):
			f.lookAgain(tenant)
			f.notices.looked(tenant, last)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// lookAhead finds the rooms whose log in the store is ahead of what this node has delivered.
func (f *Fanout) lookAhead(ctx context.Context) (ahead []*liveRoom) {
	watched := map[domain.TenantID][]*liveRoom{}
	for i := range f.shards {
		f.shards[i].each(func(r *liveRoom) {
			if r.watched() {
				watched[r.tenant] = append(watched[r.tenant], r)
			}
		})
	}
	for tenant, rooms := range watched {
		for part := range slices.Chunk(rooms, sweepStep) {
			found, err := f.positions(ctx, tenant, part)
			if err != nil && ctx.Err() == nil && !errors.Is(err, domain.ErrTenantNotFound) {
				f.log.Warn("rooms not compared with the store", "error", err)
			}
			ahead = append(ahead, found...)
		}
	}
	return ahead
}

// positions notes the store's rev of each room and returns those that are ahead.
func (f *Fanout) positions(ctx context.Context, tenant domain.TenantID, rooms []*liveRoom) (ahead []*liveRoom, err error) {
	ids := make([]domain.RoomID, len(rooms))
	for i, r := range rooms {
		ids[i] = r.id
	}
	revs, removed := map[domain.RoomID]int64{}, map[domain.RoomID]int64{}
	err = f.store.View(ctx, tenant, func(v ports.Reader) (err error) {
		if revs, err = v.Positions(ids); err != nil {
			return err
		}
		for _, id := range ids {
			if _, stands := revs[id]; stands {
				continue
			}
			if removed[id], err = v.RemovedAt(id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range rooms {
		rev, stands := revs[r.id]
		if !stands {
			rev = removed[r.id]
		}
		if r.compare(rev, stands) {
			ahead = append(ahead, r)
		}
	}
	return ahead, nil
}

// compare notes the store's rev of the room and reports whether it is ahead. A room that the store does not have any
// more was removed, at rev: that is ahead of those who have not heard of it.
func (r *liveRoom) compare(rev int64, stands bool) (ahead bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.swept, r.removed = rev, !stands; r.removed {
		return r.ended == 0
	}
	return rev > r.last
}

// endUnheard ends a room whose removal was never heard of, where the store says that it was. The caller holds r.mu.
func (r *liveRoom) endUnheard(f *Fanout) {
	f.tailBytes.Add(int64(r.tail.reset()))
	r.last = max(r.last+1, r.swept)
	removal := signal{Frame: f.removed(r, r.last)}
	r.follow(removal)
	for i := range r.seats {
		r.seats[i].offer(f, r, removal)
	}
	r.end(f, r.last)
}

// compare repairs rooms that this node has just begun to watch, where the store is ahead already.
func (f *Fanout) compare(ctx context.Context, tenant domain.TenantID, rooms []*liveRoom) error {
	for part := range slices.Chunk(rooms, sweepStep) {
		ahead, err := f.positions(ctx, tenant, part)
		if err != nil {
			return err
		}
		for _, r := range ahead {
			f.repairIfBehind(r)
		}
	}
	return nil
}

func (r *liveRoom) watched() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seats) > 0
}

func (f *Fanout) repairIfBehind(r *liveRoom) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.removed && r.ended == 0:
		r.endUnheard(f)
	case !r.removed && r.swept > r.last:
		r.missed = max(r.missed, r.swept)
		f.startRepair(r)
	}
}

// startRepair has the room's log read from where it stands; one read at a time. The caller holds r.mu.
func (f *Fanout) startRepair(r *liveRoom) {
	if r.repairing {
		return
	}
	r.repairing = true
	f.counters.repairs.Add(1)
	f.catchups.put(repairJob{f, r})
}

type repairJob struct {
	f *Fanout
	r *liveRoom
}

// run delivers the missing events in order, until nothing that was seen is missing any more.
func (j repairJob) run(ctx context.Context) {
	for {
		events, left, err := j.read(ctx)
		if ignoreGone(err) != nil && ctx.Err() == nil { // of a room that was removed the sweep tells
			j.f.log.Warn("log of a room not read", "error", err)
		}
		j.r.setAside(left)
		for _, e := range events {
			sig := newSignal(j.f.enc, e)
			sig.later = isLater(e)
			j.r.deliver(j.f, sig)
		}
		if j.done(len(events) == 0) {
			return
		}
	}
}

// read reads the next steps. Where one is told as it became later, it is also asked whose seats are taken by members who
// have left since, and where: they are not to be told by it.
func (j repairJob) read(ctx context.Context) (events []domain.Event, left map[domain.UserID]int64, err error) {
	last, users := j.r.seated()
	err = j.f.store.View(ctx, j.r.tenant, func(v ports.Reader) (err error) {
		events, err = v.Events(ports.EventQuery{Room: j.r.id, After: last, Limit: catchupStep})
		if err != nil || !slices.ContainsFunc(events, isLater) {
			return err
		}
		left = map[domain.UserID]int64{}
		for user := range users {
			m, err := v.Member(j.r.id, user)
			if err != nil {
				return err
			}
			if !m.IsActive() {
				left[user] = m.LeftRev
			}
		}
		return nil
	})
	return events, left, err
}

// isLater reports whether a step that was read from the store may be told as it became after its position: a message
// that has changed since, a member or a room as they are now.
func isLater(e domain.Event) bool { return e.Message == nil || e.Message.Rev > e.Rev }

// seated are the room's position on this node, and the users who sit in it.
func (r *liveRoom) seated() (last int64, users map[domain.UserID]struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	users = make(map[domain.UserID]struct{}, len(r.seats))
	for i := range r.seats {
		users[r.seats[i].peer.caller.User] = struct{}{}
	}
	return r.last, users
}

// setAside takes the seats of those who have left out of the turn of the others: they are caught up on their own, to
// where they left.
func (r *liveRoom) setAside(left map[domain.UserID]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.seats {
		s := &r.seats[i]
		rev, ok := left[s.peer.caller.User]
		if !ok || s.until > 0 {
			continue
		}
		s.until = rev
		if s.state == behind {
			continue
		}
		s.pos = max(s.pos, r.last)
		if s.state == live {
			s.pos = r.last
		}
		s.state, s.minSeq = behind, 0
		s.peer.addTask(task{room: r})
		s.peer.kick()
	}
}

// done ends the repair when there is nothing more to read, or nothing missing. What is missed from then on starts
// another.
func (j repairJob) done(exhausted bool) bool {
	j.r.mu.Lock()
	defer j.r.mu.Unlock()
	if !exhausted && !j.r.gone && j.r.last < j.r.missed {
		return false
	}
	j.r.repairing, j.r.missed = false, 0
	return true
}

// evict forgets rooms that have had no socket for a minute, and the tails of empty rooms while tails take too much
// memory.
func (f *Fanout) evict() {
	now := f.clock.Now()
	for i := range f.shards {
		f.shards[i].evict(f, now)
	}
}

func (s *shard) evict(f *Fanout, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.rooms {
		r.mu.Lock()
		idle := now.Sub(r.emptied)
		switch tooMuch := f.tailBytes.Load() > f.cfg.TailBytes; {
		case len(r.seats) == 0 && !r.repairing && (tooMuch || idle > keepEmptyFor || idle < 0):
			f.tailBytes.Add(int64(r.tail.reset()))
			r.gone = true
			delete(s.rooms, id)
		case tooMuch:
			f.tailBytes.Add(int64(r.tail.reset()))
		}
		r.mu.Unlock()
	}
}
