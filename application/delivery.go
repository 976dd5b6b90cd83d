package application

import (
	"context"
	"log/slog"
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
	pending map[domain.TenantID]map[deviceRoom]domain.Mark
	seen    map[domain.TenantID]map[device]int64 // what a device has learned of its user's removals
}

type device struct {
	user   domain.UserID
	device domain.DeviceID
}

type deviceRoom struct {
	device
	room domain.RoomID
}

const (
	markFlush    = 500 * time.Millisecond // half of the promised second: a flush may have to wait for a commit
	marksPerJob  = 200                    // one closure stays far below 5 ms
	flushTimeout = 10 * time.Second
)

// NewDelivery wires the use case.
func NewDelivery(store ports.Store, clock ports.Clock, log *slog.Logger) *Delivery {
	return &Delivery{
		store: store, clock: clock, log: log,
		pending: map[domain.TenantID]map[deviceRoom]domain.Mark{},
		seen:    map[domain.TenantID]map[device]int64{},
	}
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
		d.note(c.Tenant.ID, deviceRoom{device{c.User, dev}, room}, mark)
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

func (d *Delivery) note(tenant domain.TenantID, at deviceRoom, mark domain.Mark) {
	d.mu.Lock()
	defer d.mu.Unlock()
	marks := d.pending[tenant]
	if marks == nil {
		marks = map[deviceRoom]domain.Mark{}
		d.pending[tenant] = marks
	}
	marks[at] = marks[at].Raise(mark)
}

// Learned notes that a device has been told of its user's removals up to userRev.
func (d *Delivery) Learned(c Caller, dev domain.DeviceID, userRev int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	devices := d.seen[c.Tenant.ID]
	if devices == nil {
		devices = map[device]int64{}
		d.seen[c.Tenant.ID] = devices
	}
	at := device{c.User, dev}
	devices[at] = max(devices[at], userRev)
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
	pending, seen := d.pending, d.seen
	d.pending, d.seen = map[domain.TenantID]map[deviceRoom]domain.Mark{}, map[domain.TenantID]map[device]int64{}
	d.mu.Unlock()
	for tenant, marks := range pending {
		d.flushMarks(ctx, tenant, marks)
	}
	for tenant, devices := range seen {
		d.flushSeen(ctx, tenant, devices)
	}
}

func (d *Delivery) flushMarks(ctx context.Context, tenant domain.TenantID, marks map[deviceRoom]domain.Mark) {
	batch := make(map[deviceRoom]domain.Mark, min(len(marks), marksPerJob))
	write := func() {
		if err := d.writeMarks(ctx, tenant, batch); err != nil {
			d.log.Warn("marks not written yet", "error", err, "marks", len(batch))
			for at, mark := range batch {
				d.note(tenant, at, mark)
			}
		}
		clear(batch)
	}
	for at, mark := range marks {
		if batch[at] = mark; len(batch) == marksPerJob {
			write()
		}
	}
	if len(batch) > 0 {
		write()
	}
}

// writeMarks skips marks whose room or membership is gone by now: nobody will ask for them again.
func (d *Delivery) writeMarks(ctx context.Context, tenant domain.TenantID, marks map[deviceRoom]domain.Mark) error {
	return ignoreGone(d.store.Update(ctx, tenant, func(tx ports.Tx) error {
		for at, mark := range marks {
			if _, err := tx.RaiseMark(at.room, at.user, at.device.device, mark); ignoreGone(err) != nil {
				return err
			}
		}
		return nil
	}))
}

func (d *Delivery) flushSeen(ctx context.Context, tenant domain.TenantID, devices map[device]int64) {
	now := d.clock.Now()
	err := ignoreGone(d.store.Update(ctx, tenant, func(tx ports.Tx) error {
		for at, userRev := range devices {
			if err := tx.SeeDevice(at.user, at.device, userRev, now); err != nil {
				return err
			}
		}
		return nil
	}))
	if err != nil {
		d.log.Warn("devices not noted", "error", err, "devices", len(devices))
	}
}
