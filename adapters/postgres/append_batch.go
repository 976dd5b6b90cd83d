package postgres

import (
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// batch is some sends of a tenant in one transaction.
type batch struct {
	store   *Store
	tenant  domain.TenantID
	sends   []*send
	rooms   map[domain.RoomID]bool
	started time.Time // what it is part of, if it is one
	part    bool      // of a batch that was divided
	late    *time.Timer
	end     func()

	c       *pgxpool.Conn // nil while there is no transaction
	work    *appending
	next    int // the first send that is not decided
	attempt int
}

// run takes the batch to its end. A decide that calls runtime.Goexit ends this goroutine; a fresh one goes on with the next
// send of the same transaction.
func (b *batch) run() {
	ended := false
	defer func() {
		if !ended {
			go b.run()
		}
	}()
	for !b.try() {
		pause(b.attempt)
	}
	ended = true
	if b.end != nil {
		b.end()
	}
	b.store.keepTime()
}

// try is one attempt, and reports whether it was the last.
func (b *batch) try() (over bool) {
	if b.c == nil {
		if err := b.begin(); err != nil {
			return b.fail(err)
		}
	}
	for b.next < len(b.sends) {
		s := b.sends[b.next]
		b.next++
		b.decide(s)
	}
	place, err := b.commit()
	if err != nil {
		return b.fail(err)
	}
	b.close()
	place.wait()
	b.answer(nil)
	return true
}

// begin opens the transaction and reads what the sends need, in one exchange with the server when the tenant is known.
func (b *batch) begin() (err error) {
	b.attempt++
	for _, s := range b.sends {
		s.out, s.err, s.panicked, s.exited = ports.Appended{}, nil, nil, false
	}
	number, known := b.store.numbers.get(b.tenant)
	if !known {
		if b.c, number, err = b.store.begin(background, b.store.appenders, toWrite, b.tenant); err != nil {
			return err
		}
		b.store.numbers.add(b.tenant, number)
		b.work = newAppending(newTx(b.store, b.c, number, b.tenant), b.sends)
		return b.note(b.load(step{query: sooner}))
	}
	patience := acquirePatience
	if b.part {
		patience = partPatience
	}
	var tried time.Time
	for {
		if b.c, err = b.store.acquire(background, b.store.appenders, patience); err != nil {
			return err
		}
		if tried.IsZero() {
			tried = time.Now()
		}
		if err = b.open(number); !isLost(err) || time.Since(tried) > acquirePatience {
			return err
		}
		b.close()
	}
}

const (
	// partPatience is how long a part of a batch waits for a connection: others of its batch may be at locked rooms.
	partPatience = 5 * time.Second
	// divideLimit is the age of a batch from which on what is left of its parts is not begun any more.
	divideLimit = 8 * time.Second
	// roomPatience is how long a batch of one room goes on waiting for it while that is in nobody's way: as long as other
	// work does, which has as long at the room's door. A unit of work that has much to write holds a room for seconds when the
	// machine is busy.
	roomPatience = 5 * time.Second
)

// sooner has a batch wait less long for a locked room than other work: the sends of other rooms wait with it.
const sooner = "SELECT set_config('lock_timeout', '2s', true)"

// errOtherTenant is a tenant that was deleted, and another made under its id.
var errOtherTenant = errors.New("postgres: the tenant is another")

func (b *batch) open(number int64) error {
	t := newTx(b.store, b.c, number, b.tenant)
	b.work = newAppending(t, b.sends)
	var found int64
	err := b.load(step{query: toWrite}, step{query: sooner},
		step{query: inTenant, args: args(string(b.tenant)), each: func(r row) error {
			found = r.Int(0)
			return nil
		}})
	if err == nil && found != number {
		b.store.numbers.forget(b.tenant)
		if err = domain.ErrTenantNotFound; found != 0 {
			return errOtherTenant
		}
	}
	return b.note(err)
}

// load is the work's, for which the batch has loadLimit.
func (b *batch) load(before ...step) error {
	db, end := b.work.t.conn, b.work.t.conn.end
	db.end = time.Now().Add(loadLimit)
	err := b.work.load(before...)
	db.end = end
	return err
}

// note marks an error of a statement as one.
func (b *batch) note(err error) error {
	if err != nil && b.work.t.conn.trouble != nil {
		return statementError{err}
	}
	return err
}

// decide runs the rule of one send, and keeps what comes of it for the end of the batch.
func (b *batch) decide(s *send) {
	returned := false
	started := time.Now()
	defer func() {
		b.store.stats.closure(time.Since(started))
		if returned {
			return
		}
		if s.panicked = recover(); s.panicked == nil {
			s.exited = true
		}
	}()
	s.out, s.err = b.work.take(s)
	returned = true
}

func (b *batch) commit() (*ticket, error) {
	b.store.stats.batch(len(b.sends))
	if err := b.work.prepare(); err != nil {
		return nil, b.note(err)
	}
	if !b.work.final() {
		if err := b.work.store(); err != nil {
			return nil, b.note(err)
		}
	}
	return b.store.commit(b.c, b.work.t.events, b.work.steps()...)
}

// fail deals with a transaction that has failed, and reports whether that was the end of it. One that lost against another
// is tried again. Of several rooms one may be locked by somebody who does not move, and of several sends one may be what the
// server does not take: they are tried apart.
func (b *batch) fail(err error) (over bool) {
	b.close()
	b.next = 0
	switch {
	case errors.Is(err, errOtherTenant), isRetryable(err):
		if b.attempt < attempts {
			b.store.stats.retried()
			return false
		}
	case codeOf(err) == lockNotAvailable && b.mayWait():
		b.store.stats.retried()
		return false
	case len(b.sends) > 1 && b.divisible(err):
		b.divide()
		return true
	}
	var fault sendError
	if errors.As(err, &fault) {
		err = fault.error
	}
	b.answer(b.store.translateStatement(err))
	return true
}

// mayWait reports whether a batch whose room is locked may try once more. A part of one has other rooms waiting for it.
func (b *batch) mayWait() bool {
	return !b.part && len(b.rooms) == 1 && time.Since(b.started) < roomPatience && b.store.appends.spare()
}

func (b *batch) divisible(err error) bool {
	return codeOf(err) == lockNotAvailable && len(b.rooms) > 1 || !isEnvironment(err) && errors.As(err, new(statementError)) ||
		errors.As(err, new(sendError))
}

// divide runs the sends of each room apart, a few at a time, or one by one if they are all of one room.
func (b *batch) divide() {
	var parts []*batch
	byRoom := map[domain.RoomID]*batch{}
	for _, s := range b.sends {
		part := byRoom[s.in.Room]
		if part == nil || len(b.rooms) == 1 {
			part = &batch{store: b.store, tenant: b.tenant, rooms: map[domain.RoomID]bool{s.in.Room: true}, started: b.started, part: true}
			byRoom[s.in.Room] = part
			parts = append(parts, part)
		}
		part.sends = append(part.sends, s)
	}
	atOnce := maxParts
	if len(b.rooms) == 1 {
		atOnce = 1
	}
	var all sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, part := range parts {
		free <- struct{}{}
		all.Go(func() {
			part.runAndWait()
			<-free
		})
	}
	all.Wait()
}

// runAndWait takes a part to its end. One that comes too late to begin has its callers come again.
func (b *batch) runAndWait() {
	if time.Since(b.started) > divideLimit {
		b.answer(domain.ErrBusy)
		return
	}
	done := make(chan struct{})
	b.end = func() { close(done) }
	go b.run()
	<-done
}

// close ends what is left of the transaction.
func (b *batch) close() {
	if b.c == nil {
		return
	}
	if b.work != nil {
		b.work.t.done = true
	}
	rollback(b.c)
	release(b.c)
	b.c, b.work = nil, nil
}

// answer releases the callers. An outcome of a failed batch may rest on a neighbour's row that is gone: all fail.
func (b *batch) answer(err error) {
	b.close()
	for _, s := range b.sends {
		if err != nil {
			s.out, s.err, s.panicked, s.exited = ports.Appended{}, err, nil, false
		}
		close(s.done)
	}
}

// numbers remembers tenants' numbers; what is found there is checked by whoever goes by it.
type numbers struct {
	mu   sync.Mutex
	each map[domain.TenantID]int64
}

// cachedTenants is how many tenants' numbers are remembered.
const cachedTenants = 4096

func (n *numbers) get(id domain.TenantID) (int64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, ok := n.each[id]
	return number, ok
}

func (n *numbers) add(id domain.TenantID, number int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.each == nil || len(n.each) >= cachedTenants {
		n.each = map[domain.TenantID]int64{}
	}
	n.each[id] = number
}

func (n *numbers) forget(id domain.TenantID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.each, id)
}
