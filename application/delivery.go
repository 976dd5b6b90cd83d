package application

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Delivery keeps how far devices have followed their rooms. Acks over REST are durable when answered; acks over
// sockets within markFlush.
type Delivery struct {
	store ports.Store
	clock ports.Clock
	log   *slog.Logger

	mu      sync.Mutex
	pending map[device]*confirmed
}

// device is one device of one user.
type device struct {
	tenant domain.TenantID
	user   domain.UserID
	id     domain.DeviceID
}

// confirmed is what a device has confirmed and the store does not know yet.
type confirmed struct {
	marks   map[domain.RoomID]domain.Mark
	seen    bool
	userRev int64 // what it has learned of its user's removals
}

const (
	markFlush    = 500 * time.Millisecond // half of the promised second: a flush may have to wait for a commit
	devicesAJob  = 100                    // in one write: its closure stays far below 5 ms
	flushWrites  = 16                     // at a time; they share commits
	flushTimeout = 10 * time.Second
)

// NewDelivery wires the use case.
func NewDelivery(store ports.Store, clock ports.Clock, log *slog.Logger) *Delivery {
	return &Delivery{store: store, clock: clock, log: log, pending: map[device]*confirmed{}}
}

// Ack confirms delivery of a room up to seq, durably. It only raises; above the room's last_seq it is refused. rev is
// the position up to which the client has seen changes too; 0 when it does not follow them.
func (d *Delivery) Ack(ctx context.Context, c Caller, room domain.RoomID, dev domain.DeviceID, seq, rev int64) error {
	_, err := ports.Update(ctx, d.store, c.Tenant.ID, func(tx ports.Tx) (domain.Mark, error) {
		mark, err := checkAck(tx, c, room, seq, rev)
		if err != nil {
			return mark, err
		}
		return tx.RaiseMark(room, c.User, dev, mark)
	})
	return err
}

// AckSoon is Ack for sockets: checked now, durable within a second. Many acks of one device and room cost one write.
func (d *Delivery) AckSoon(ctx context.Context, c Caller, room domain.RoomID, dev domain.DeviceID, seq, rev int64) error {
	mark, err := ports.View(ctx, d.store, c.Tenant.ID, func(r ports.Reader) (domain.Mark, error) {
		return checkAck(r, c, room, seq, rev)
	})
	if err == nil {
		d.note(device{c.Tenant.ID, c.User, dev}, &confirmed{marks: map[domain.RoomID]domain.Mark{room: mark}})
	}
	return err
}

// checkAck is the mark an ack stands for. A rev that does not lie between the message seq and the one after it is
// left out: the message's own position is certain.
func checkAck(r ports.Reader, c Caller, id domain.RoomID, seq, rev int64) (domain.Mark, error) {
	if c.User == "" {
		return domain.Mark{}, domain.ErrUserRequired
	}
	room, err := access(r, c, id, domain.ActAck)
	if err != nil {
		return domain.Mark{}, err
	}
	if err := domain.CheckAck(room, seq, rev); err != nil {
		return domain.Mark{}, err
	}
	if rev > 0 {
		below, err := r.SeqAt(id, rev)
		if err != nil {
			return domain.Mark{}, err
		}
		if below != seq {
			rev = 0
		}
	}
	return domain.Mark{DeliveredSeq: seq, DeliveredRev: rev}, nil
}

// note adds to what is pending of a device.
func (d *Delivery) note(at device, more *confirmed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.pending[at]
	if c == nil {
		d.pending[at] = more
		return
	}
	if c.marks == nil {
		c.marks = map[domain.RoomID]domain.Mark{}
	}
	for room, mark := range more.marks {
		c.marks[room] = c.marks[room].Raise(mark)
	}
	c.seen, c.userRev = c.seen || more.seen, max(c.userRev, more.userRev)
}

// Learned notes that a device was seen, and that it has been told of its user's removals up to userRev.
func (d *Delivery) Learned(c Caller, dev domain.DeviceID, userRev int64) {
	d.note(device{c.Tenant.ID, c.User, dev}, &confirmed{seen: true, userRev: userRev})
}

// Run writes what sockets confirmed every markFlush, and once more when ctx ends.
func (d *Delivery) Run(ctx context.Context) error {
	tick := time.NewTicker(markFlush)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.Flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			d.Flush(last)
			return nil
		}
	}
}

// Flush writes what is pending now. What cannot be written stays pending: a mark is repeated harmlessly.
func (d *Delivery) Flush(ctx context.Context) {
	d.mu.Lock()
	pending := d.pending
	d.pending = map[device]*confirmed{}
	d.mu.Unlock()
	tenants := map[domain.TenantID][]device{}
	for at := range pending {
		tenants[at.tenant] = append(tenants[at.tenant], at)
	}
	var writes sync.WaitGroup
	slots := make(chan struct{}, flushWrites)
	for _, devices := range tenants {
		for part := range slices.Chunk(devices, devicesAJob) {
			slots <- struct{}{}
			writes.Go(func() {
				d.write(ctx, part, pending)
				<-slots
			})
		}
	}
	writes.Wait()
}

// flushDevice writes what is pending of one device, for a connect that is about to read its marks.
func (d *Delivery) flushDevice(ctx context.Context, c Caller, dev domain.DeviceID) {
	at := device{c.Tenant.ID, c.User, dev}
	d.mu.Lock()
	pending := d.pending[at]
	delete(d.pending, at)
	d.mu.Unlock()
	if pending != nil {
		d.write(ctx, []device{at}, map[device]*confirmed{at: pending})
	}
}

// write stores what devices of one tenant have confirmed, or puts it back.
func (d *Delivery) write(ctx context.Context, devices []device, pending map[device]*confirmed) {
	now := d.clock.Now()
	err := d.store.Update(ctx, devices[0].tenant, func(tx ports.Tx) error {
		for _, at := range devices {
			if err := writeConfirmed(tx, at, pending[at], now); err != nil {
				return err
			}
		}
		return nil
	})
	if ignoreGone(err) == nil {
		return
	}
	d.log.Warn("marks not written yet", "error", err, "devices", len(devices))
	for _, at := range devices {
		d.note(at, pending[at])
	}
}

// writeConfirmed skips marks whose room or membership is gone by now: nobody will ask for them again.
func writeConfirmed(tx ports.Tx, at device, c *confirmed, now time.Time) error {
	if c.seen {
		if err := tx.SeeDevice(at.user, at.id, c.userRev, now); err != nil {
			return err
		}
	}
	for room, mark := range c.marks {
		if _, err := tx.RaiseMark(room, at.user, at.id, mark); ignoreGone(err) != nil {
			return err
		}
	}
	return nil
}
