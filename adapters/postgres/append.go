package postgres

import (
	"context"
	"runtime"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// send is one intent on its way. The caller waits on done, which its batch closes after the commit; the outcome fields are
// the batch's until then.
type send struct {
	tenant domain.TenantID
	in     domain.Intent
	decide func(domain.Snapshot) (domain.Change, error)
	state  atomic.Int32
	done   chan struct{}

	out      ports.Appended
	err      error
	panicked any  // what decide panicked with
	exited   bool // decide called runtime.Goexit
}

// The states of a send. Whoever moves it out of queued owns what happens next.
const (
	sendQueued int32 = iota
	sendStarted
	sendRemoved
)

// start claims a send for a batch; false when its caller has taken it back.
func (s *send) start() bool { return s.state.CompareAndSwap(sendQueued, sendStarted) }

// remove takes a send back before it has started; it will not run.
func (s *send) remove() bool { return s.state.CompareAndSwap(sendQueued, sendRemoved) }

// Append implements ports.Appender. An intent with a hold, of which there is one a run, goes alone: what it proves is not a
// batch's business.
func (s *Store) Append(ctx context.Context, tenant domain.TenantID, in domain.Intent,
	decide func(domain.Snapshot) (domain.Change, error),
) (ports.Appended, error) {
	if err := ctx.Err(); err != nil {
		return ports.Appended{}, err
	}
	one := &send{tenant: tenant, in: in, decide: decide, done: make(chan struct{})}
	if in.Hold != nil {
		return s.appendAlone(ctx, one)
	}
	if err := s.appends.push(one); err != nil {
		return ports.Appended{}, err
	}
	select {
	case <-one.done:
		return one.outcome()
	case <-ctx.Done():
	}
	if one.remove() {
		s.appends.drop(one)
		return ports.Appended{}, ctx.Err()
	}
	<-one.done
	return one.outcome()
}

func (s *send) outcome() (ports.Appended, error) {
	if s.panicked != nil {
		panic(s.panicked)
	}
	if s.exited {
		runtime.Goexit()
	}
	return s.out, s.err
}

// appendAlone is Append as a unit of work of its own, run by the caller.
func (s *Store) appendAlone(ctx context.Context, one *send) (ports.Appended, error) {
	var out ports.Appended
	err := s.submit(ctx, s.tenants, one.tenant, func(t *tx) error {
		if err := t.checkHold(one.in); err != nil {
			return err
		}
		if !t.at.enter(one.in.Room) {
			return errCrowded
		}
		a := newAppending(t, []*send{one})
		if err := a.load(); err != nil {
			return err
		}
		appended, err := a.take(one)
		if err != nil {
			return err
		}
		if err := a.store(); err != nil {
			return err
		}
		if out = appended; !out.Duplicate {
			return t.answered(*one.in.Hold, out.Message.ID)
		}
		return nil
	})
	if err != nil {
		return ports.Appended{}, err
	}
	return out, nil
}
