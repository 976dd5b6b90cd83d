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
	sweepStep    = 500 // rooms in one read
	keepEmptyFor = time.Minute
)

func (f *Fanout) sweep(ctx context.Context) {
	for {
		wait := sweepEvery - sweepGrace + rand.N(sweepEvery/5) - sweepEvery/10
		if !sleep(ctx, wait) {
			return
		}
		f.evict()
		ahead := f.lookAhead(ctx)
		if len(ahead) > 0 && !sleep(ctx, sweepGrace) {
			return
		}
		for _, r := range ahead {
			f.repairIfBehind(r)
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
	revs, err := ports.View(ctx, f.store, tenant, func(v ports.Reader) (map[domain.RoomID]int64, error) {
		return v.Positions(ids)
	})
	if err != nil {
		return nil, err
	}
	for _, r := range rooms {
		rev, stands := revs[r.id]
		if r.compare(f, rev, stands) {
			ahead = append(ahead, r)
		}
	}
	return ahead, nil
}

// compare notes the store's rev of the room and reports whether it is ahead. A room that the store does not have any
// more was removed, and the hint of that is lost or on its way.
func (r *liveRoom) compare(f *Fanout, rev int64, stands bool) (ahead bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stands {
		r.swept = rev
		return rev > r.last
	}
	if r.ended == 0 {
		f.tailBytes.Add(int64(r.tail.reset()))
		r.last++
		for i := range r.seats {
			r.seats[i].state, r.seats[i].pos = waiting, r.last-1
		}
		r.end(f, r.last)
	}
	return false
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
	if r.swept > r.last {
		r.missed = max(r.missed, r.swept)
		f.startRepair(r)
	}
}

// repair reads a room's log because hints of it may be lost.
func (f *Fanout) repair(r *liveRoom) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed = max(r.missed, r.last+1)
	f.startRepair(r)
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
		events, err := j.read(ctx)
		if ignoreGone(err) != nil && ctx.Err() == nil { // of a room that was removed the sweep tells
			j.f.log.Warn("log of a room not read", "error", err)
		}
		for _, e := range events {
			j.r.deliver(j.f, newSignal(j.f.enc, e))
		}
		if j.done(len(events) == 0) {
			return
		}
	}
}

func (j repairJob) read(ctx context.Context) ([]domain.Event, error) {
	j.r.mu.Lock()
	last := j.r.last
	j.r.mu.Unlock()
	return ports.View(ctx, j.f.store, j.r.tenant, func(v ports.Reader) ([]domain.Event, error) {
		return v.Events(ports.EventQuery{Room: j.r.id, After: last, Limit: catchupStep})
	})
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
