package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// doors has units of work wait for a room without a connection. One is at the room, and one behind it at the room's lock
// where there are places enough, so that the room does not stand idle from a commit to the next beginning. Whoever comes
// after them is sent back: what it has begun is taken back, and it begins again when it is its turn. Else those that queue
// behind one room would have all places of their tenant, and its other rooms none.
type doors struct {
	most int // at one room

	mu    sync.Mutex
	rooms map[domain.RoomID]*door
}

type door struct {
	inside  int
	waiting []*waiter
}

func newDoors(places int) *doors {
	return &doors{most: max(1, min(2, places/4)), rooms: map[domain.RoomID]*door{}}
}

// errCrowded is a room with too many at it: no caller of the store sees it.
var errCrowded = errors.New("postgres: others wait for the room")

// visit is what a unit of work has to do with the doors. It is at one room: for any further one it waits at the lock, since
// it has others waiting already.
type visit struct {
	doors   *doors
	room    *domain.RoomID // it is let to
	refused *domain.RoomID // it is to begin anew when it is its turn there
}

// enter goes to a room before its lock is asked for.
func (v *visit) enter(room domain.RoomID) bool {
	switch {
	case v == nil, v.room != nil:
		return true
	case v.refused == nil && v.doors.enter(room):
		v.room = &room
		return true
	}
	if v.refused == nil { // else it is sent back already
		v.refused = &room
	}
	return false
}

// wait goes to the room that had too many.
func (v *visit) wait(ctx context.Context, patience time.Duration) error {
	room := v.refused
	v.refused = nil
	err := v.doors.wait(ctx, *room, patience)
	if err == nil {
		v.room = room
	}
	return err
}

// leave ends the stay, after the transaction.
func (v *visit) leave() {
	if v.room != nil {
		v.doors.leave(*v.room)
		v.room = nil
	}
}

// enter goes to a room, if not too many are there.
func (d *doors) enter(room domain.RoomID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open(room)
}

// wait goes to a room when it is its turn: domain.ErrBusy when that has not come for so long.
func (d *doors) wait(ctx context.Context, room domain.RoomID, patience time.Duration) error {
	w := d.join(room)
	if w == nil {
		return nil
	}
	err := w.wait(ctx, patience)
	if err != nil && !d.quit(room, w) {
		d.leave(room) // it was let in at that moment
	}
	return err
}

// join is enter, or a place in the queue.
func (d *doors) join(room domain.RoomID) *waiter {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open(room) {
		return nil
	}
	w := &waiter{let: make(chan struct{})}
	d.rooms[room].waiting = append(d.rooms[room].waiting, w)
	return w
}

// open needs mu.
func (d *doors) open(room domain.RoomID) bool {
	at := d.rooms[room]
	if at == nil {
		at = &door{}
		d.rooms[room] = at
	}
	if at.inside == d.most {
		return false
	}
	at.inside++
	return true
}

func (d *doors) quit(room domain.RoomID, w *waiter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.rooms[room]
	if at == nil {
		return false
	}
	i := slices.Index(at.waiting, w)
	if i >= 0 {
		at.waiting = slices.Delete(at.waiting, i, i+1)
	}
	return i >= 0
}

// leave lets the next one to the room.
func (d *doors) leave(room domain.RoomID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.rooms[room]
	if len(at.waiting) > 0 {
		close(at.waiting[0].let) // in the place of the one that leaves
		at.waiting = slices.Delete(at.waiting, 0, 1)
		return
	}
	if at.inside--; at.inside == 0 {
		delete(d.rooms, room)
	}
}
