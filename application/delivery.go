package application

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Delivery keeps how far devices have followed their rooms and users have read them. Acks and read marks over REST are
// durable when answered, over sockets within two markFlush or when the writes before them are; others hear of them after that.
type Delivery struct {
	store ports.Store
	hints *Hints
	clock ports.Clock
	log   *slog.Logger

	slots chan struct{} // of writes at a time

	mu      sync.Mutex
	pending map[device]*confirmed
	writing map[domain.TenantID]chan struct{} // whose marks are on their way; closed when they have arrived
}

// device is one device of one user.
type device struct {
	tenant domain.TenantID
	user   domain.UserID
	id     domain.DeviceID
}

// confirmed is what a device has confirmed and the store does not know yet.
type confirmed struct {
	marks   map[domain.RoomID]mark
	notices map[domain.NotificationID]struct{}
	seen    bool
	userRev int64 // what it has learned of its user's removals
}

// mark is what was confirmed of one room. A read mark is one of delivery too.
type mark struct {
	domain.Mark
	readSeq int64
}

func (m mark) raise(other mark) mark {
	return mark{m.Raise(other.Mark), max(m.readSeq, other.readSeq)}
}

const (
	markFlush     = 500 * time.Millisecond // half of the promised second: a flush may have to wait for a commit
	confirmedAJob = 200                    // marks and notifications in one write: its closure stays below 5 ms
	flushWrites   = 64                     // at a time; they share commits
	tenantWrites  = 8                      // of those, of one tenant: one whose writes wait delays no other's
	flushTimeout  = 10 * time.Second

	pendingDevices = 100_000 // that wait while the store cannot be written
)

// NewDelivery wires the use case.
func NewDelivery(store ports.Store, hints *Hints, clock ports.Clock, log *slog.Logger) *Delivery {
	return &Delivery{
		store: store, hints: hints, clock: clock, log: log, slots: make(chan struct{}, flushWrites),
		pending: map[device]*confirmed{}, writing: map[domain.TenantID]chan struct{}{},
	}
}

// Ack confirms delivery of a room up to seq, durably. It only raises; above the room's last_seq it is refused. rev is
// the position up to which the client has seen changes too; 0 when it does not follow them.
func (d *Delivery) Ack(ctx context.Context, c Caller, room domain.RoomID, dev domain.DeviceID, seq, rev int64) error {
	return d.confirm(ctx, c, room, dev, func(r ports.Reader) (mark, error) { return checkAck(r, c, room, seq, rev) })
}

// AckSoon is Ack for sockets: checked now, durable within a second. Many acks of one device and room cost one write.
func (d *Delivery) AckSoon(ctx context.Context, c Caller, room domain.RoomID, dev domain.DeviceID, seq, rev int64) error {
	return d.confirmSoon(ctx, c, room, dev, func(r ports.Reader) (mark, error) { return checkAck(r, c, room, seq, rev) })
}

// Read raises the user's read mark to seq, durably, and the common device's delivery with it. It only rises; above the
// room's last_seq it is refused.
func (d *Delivery) Read(ctx context.Context, c Caller, room domain.RoomID, seq int64) error {
	return d.confirm(ctx, c, room, "", func(r ports.Reader) (mark, error) { return checkRead(r, c, room, seq) })
}

// ReadSoon is Read for sockets: checked now, durable within a second; delivery is the socket's device's.
func (d *Delivery) ReadSoon(ctx context.Context, c Caller, room domain.RoomID, dev domain.DeviceID, seq int64) error {
	return d.confirmSoon(ctx, c, room, dev, func(r ports.Reader) (mark, error) { return checkRead(r, c, room, seq) })
}

// AckNotices ends the waiting for a user's acknowledgement of notifications, durably within a second; once more is no
// error. domain.ErrNoNotification when one of them does not exist; the others are acknowledged then, too.
func (d *Delivery) AckNotices(ctx context.Context, c Caller, dev domain.DeviceID, ids []domain.NotificationID) error {
	slices.SortFunc(ids, func(a, b domain.NotificationID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	known := &confirmed{notices: make(map[domain.NotificationID]struct{}, len(ids))}
	err := d.store.View(ctx, c.Tenant.ID, func(r ports.Reader) error {
		clear(known.notices)
		found, err := r.KnownNotifications(ids)
		for _, id := range found {
			known.notices[id] = struct{}{}
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(known.notices) < len(ids) {
		err = domain.ErrNoNotification
	}
	if len(known.notices) > 0 && !d.note(device{c.Tenant.ID, c.User, dev}, known) {
		return domain.ErrBusy
	}
	return err
}

// Wrote confirms, for a client that does not, what was written to its socket: of a room the message seq, at rev, and all
// before it, or a notification.
func (d *Delivery) Wrote(c Caller, dev domain.DeviceID, frame ports.Frame) {
	at, m := device{c.Tenant.ID, c.User, dev}, mark{Mark: domain.Mark{DeliveredSeq: frame.Seq, DeliveredRev: frame.Rev}}
	switch { // what cannot be kept is delivered again
	case !frame.Notice.IsZero():
		d.note(at, oneNotice(frame.Notice))
	case frame.Rev > 0 && !d.noteMark(at, frame.Room, m):
		d.note(at, &confirmed{marks: map[domain.RoomID]mark{frame.Room: m}})
	}
}

func oneNotice(id domain.NotificationID) *confirmed {
	return &confirmed{notices: map[domain.NotificationID]struct{}{id: {}}}
}

// noteMark adds a mark to what is pending of a device; false when nothing is.
func (d *Delivery) noteMark(at device, room domain.RoomID, m mark) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.pending[at]
	if c == nil || c.marks == nil {
		return false
	}
	c.marks[room] = c.marks[room].raise(m)
	return true
}

func checkRead(r ports.Reader, c Caller, room domain.RoomID, seq int64) (mark, error) {
	m, err := checkAck(r, c, room, seq, 0)
	m.readSeq = seq
	return m, err
}

func (d *Delivery) confirm(ctx context.Context, c Caller, room domain.RoomID, dev domain.DeviceID, check func(ports.Reader) (mark, error)) error {
	m, err := ports.View(ctx, d.store, c.Tenant.ID, check) // not with the write: a room that is only looked at is not locked
	if err != nil {
		return err
	}
	raised, err := ports.Update(ctx, d.store, c.Tenant.ID, func(tx ports.Tx) (mark, error) {
		return raise(tx, room, c.User, dev, m)
	})
	if err == nil {
		d.tell(ctx, receipts(c.Tenant.ID, room, c.User, raised))
	}
	return err
}

func (d *Delivery) confirmSoon(ctx context.Context, c Caller, room domain.RoomID, dev domain.DeviceID, check func(ports.Reader) (mark, error)) error {
	m, err := ports.View(ctx, d.store, c.Tenant.ID, check)
	if err != nil {
		return err
	}
	if !d.note(device{c.Tenant.ID, c.User, dev}, &confirmed{marks: map[domain.RoomID]mark{room: m}}) {
		return domain.ErrBusy
	}
	return nil
}

// raise stores a mark and returns it as it stands then; readSeq stays 0 when nothing was read.
func raise(tx ports.MarkWriter, room domain.RoomID, user domain.UserID, dev domain.DeviceID, m mark) (raised mark, err error) {
	if raised.Mark, err = tx.RaiseMark(room, user, dev, m.Mark); err != nil || m.readSeq == 0 {
		return raised, err
	}
	raised.readSeq, err = tx.RaiseRead(room, user, m.readSeq)
	return raised, err
}

// receipts is what others are told of a mark: how far was read, which says that it was received, and how far was
// received when that is further.
func receipts(tenant domain.TenantID, room domain.RoomID, user domain.UserID, m mark) (told []domain.Hint) {
	if m.readSeq > 0 {
		told = append(told, domain.Hint{Tenant: tenant, Room: room, Kind: domain.HintRead, User: user, Seq: m.readSeq})
	}
	if m.DeliveredSeq > m.readSeq {
		told = append(told, domain.Hint{Tenant: tenant, Room: room, Kind: domain.HintAcked, User: user, Seq: m.DeliveredSeq})
	}
	return told
}

// checkAck is the mark an ack stands for. A rev that does not lie between the message seq and the one after it is
// left out: the message's own position is certain.
func checkAck(r ports.Reader, c Caller, id domain.RoomID, seq, rev int64) (mark, error) {
	if c.User == "" {
		return mark{}, domain.ErrUserRequired
	}
	room, err := access(r, c, id, domain.ActAck)
	if err != nil {
		return mark{}, err
	}
	if err := domain.CheckAck(room, seq, rev); err != nil {
		return mark{}, err
	}
	if rev > 0 {
		below, err := r.SeqAt(id, rev)
		if err != nil {
			return mark{}, err
		}
		if below != seq {
			rev = 0
		}
	}
	return mark{Mark: domain.Mark{DeliveredSeq: seq, DeliveredRev: rev}}, nil
}

// note adds to what is pending of a device; false when too many devices wait already, because the store cannot be written.
func (d *Delivery) note(at device, more *confirmed) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.pending[at]
	if c == nil && len(d.pending) >= pendingDevices {
		return false
	}
	if c == nil {
		d.pending[at] = more
		return true
	}
	if c.marks == nil {
		c.marks = map[domain.RoomID]mark{}
	}
	for room, m := range more.marks {
		c.marks[room] = c.marks[room].raise(m)
	}
	if c.notices == nil {
		c.notices = more.notices
	} else {
		maps.Copy(c.notices, more.notices)
	}
	c.seen, c.userRev = c.seen || more.seen, max(c.userRev, more.userRev)
	return true
}

// Learned notes that a device was seen, and that it has been told of its user's removals up to userRev. When that cannot
// be kept now, the device is told again.
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
			d.flush(ctx)
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
	d.written(ctx)
	d.flush(ctx)
	d.written(ctx)
}

// flush begins to write what is pending of the tenants of whom nothing is on its way.
func (d *Delivery) flush(ctx context.Context) {
	d.mu.Lock()
	tenants := map[domain.TenantID][]portion{}
	for at, c := range d.pending {
		if d.writing[at.tenant] == nil {
			tenants[at.tenant] = append(tenants[at.tenant], c.portions(at)...)
			delete(d.pending, at)
		}
	}
	for tenant := range tenants {
		d.writing[tenant] = make(chan struct{})
	}
	d.mu.Unlock()
	for tenant, portions := range tenants {
		go d.writeAll(ctx, tenant, portions)
	}
}

// written waits until nothing is on its way any more, or ctx ends.
func (d *Delivery) written(ctx context.Context) {
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.writing))
	d.mu.Unlock()
	for _, done := range all {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// writeAll writes what is pending of a tenant, several writes at a time.
func (d *Delivery) writeAll(ctx context.Context, tenant domain.TenantID, portions []portion) {
	var writes sync.WaitGroup
	own := make(chan struct{}, tenantWrites)
	for len(portions) > 0 {
		n, weight := 0, 0
		for n < len(portions) && (n == 0 || weight+portions[n].weight() <= confirmedAJob) {
			weight += portions[n].weight()
			n++
		}
		part := portions[:n]
		portions = portions[n:]
		own <- struct{}{}
		d.slots <- struct{}{}
		writes.Go(func() {
			d.write(ctx, part)
			<-d.slots
			<-own
		})
	}
	writes.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.writing[tenant])
	delete(d.writing, tenant)
}

// portion is as much of what a device has confirmed as goes into one write.
type portion struct {
	device
	*confirmed
}

func (p portion) weight() int { return 1 + len(p.marks) + len(p.notices) }

// portions divides what a device has confirmed.
func (c *confirmed) portions(at device) []portion {
	if 1+len(c.marks)+len(c.notices) <= confirmedAJob {
		return []portion{{at, c}}
	}
	parts := []portion{{at, &confirmed{seen: c.seen, userRev: c.userRev}}}
	last := func() *confirmed {
		if p := parts[len(parts)-1]; p.weight() < confirmedAJob {
			return p.confirmed
		}
		parts = append(parts, portion{at, &confirmed{}})
		return parts[len(parts)-1].confirmed
	}
	for room, m := range c.marks {
		part := last()
		if part.marks == nil {
			part.marks = map[domain.RoomID]mark{}
		}
		part.marks[room] = m
	}
	for id := range c.notices {
		part := last()
		if part.notices == nil {
			part.notices = map[domain.NotificationID]struct{}{}
		}
		part.notices[id] = struct{}{}
	}
	return parts
}

// flushDevice writes what is pending of one device, for a connect that is about to read its marks.
func (d *Delivery) flushDevice(ctx context.Context, c Caller, dev domain.DeviceID) {
	at := device{c.Tenant.ID, c.User, dev}
	d.mu.Lock()
	pending := d.pending[at]
	delete(d.pending, at)
	d.mu.Unlock()
	if pending != nil {
		for _, part := range pending.portions(at) {
			d.write(ctx, []portion{part})
		}
	}
}

// write stores what devices of one tenant have confirmed, and tells of it, or puts it back.
func (d *Delivery) write(ctx context.Context, portions []portion) {
	now := d.clock.Now()
	told, err := ports.Update(ctx, d.store, portions[0].tenant, func(tx ports.Tx) ([]domain.Hint, error) {
		var all []domain.Hint
		for _, p := range portions {
			told, err := writeConfirmed(tx, p.device, p.confirmed, now)
			if err != nil {
				return nil, err
			}
			all = append(all, told...)
		}
		return all, nil
	})
	if ignoreGone(err) == nil {
		d.tell(ctx, told)
		return
	}
	d.log.Warn("marks not written yet", "error", err, "devices", len(portions))
	for _, p := range portions {
		d.note(p.device, p.confirmed)
	}
}

// writeConfirmed skips marks whose room or membership is gone by now: nobody will ask for them again. It goes in order, as
// other nodes may write the same.
func writeConfirmed(tx ports.Tx, at device, c *confirmed, now time.Time) (told []domain.Hint, err error) {
	if c.seen {
		if err := tx.SeeDevice(at.user, at.id, c.userRev, now); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(c.notices), func(a, b domain.NotificationID) int { return bytes.Compare(a[:], b[:]) }) {
		if _, err := tx.SettleNotice(at.user, id); ignoreGone(err) != nil {
			return nil, err
		}
	}
	for _, room := range slices.SortedFunc(maps.Keys(c.marks), func(a, b domain.RoomID) int { return bytes.Compare(a[:], b[:]) }) {
		m := c.marks[room]
		raised, err := raise(tx, room, at.user, at.id, m)
		if ignoreGone(err) != nil {
			return nil, err
		}
		if err == nil {
			told = append(told, receipts(at.tenant, room, at.user, raised)...)
		}
	}
	return told, nil
}

func (d *Delivery) tell(ctx context.Context, told []domain.Hint) {
	for _, hint := range told {
		d.hints.Tell(ctx, hint)
	}
}
