package application_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// seam is a store that a test can step into: it acts between two reads, and sees what each write does.
type seam struct {
	ports.Store
	mu     sync.Mutex
	steps  []seamStep
	marks  int // views that have read marks
	writes []written
	broken func(written) bool // updates that fail instead of being committed
}

type seamStep struct {
	when func(looked) bool
	do   func()
}

// looked is what one view has read.
type looked struct {
	marks    domain.RoomID
	messages domain.RoomID
	places   domain.UserID
	notices  domain.UserID
}

// written is what one update has done.
type written struct {
	marks, notices, devices int
	letters                 int // grown or added
	removed                 int // subscriptions
	lettersAtRemoval        int // that were there when one was removed
}

func (s *seam) over(store ports.Store) ports.Store {
	s.Store = store
	return s
}

// afterFirst has something done after the next view that read what is asked for, before its reader goes on.
func (s *seam) afterFirst(when func(looked) bool, do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, seamStep{when, do})
}

func (s *seam) View(ctx context.Context, tenant domain.TenantID, fn func(ports.Reader) error) error {
	var l looked
	err := s.Store.View(ctx, tenant, func(r ports.Reader) error {
		l = looked{}
		return fn(seamReader{r, &l})
	})
	for _, step := range s.take(l) {
		step.do()
	}
	return err
}

// take counts a view, and takes out the steps that are to follow it.
func (s *seam) take(l looked) (steps []seamStep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.marks.IsZero() {
		s.marks++
	}
	s.steps = slices.DeleteFunc(s.steps, func(step seamStep) bool {
		if !step.when(l) {
			return false
		}
		steps = append(steps, step)
		return true
	})
	return steps
}

func (s *seam) Update(ctx context.Context, tenant domain.TenantID, fn func(ports.Tx) error) error {
	var w written
	err := s.Store.Update(ctx, tenant, func(tx ports.Tx) error {
		w = written{}
		if err := fn(seamTx{tx, &w}); err != nil {
			return err
		}
		return s.check(w)
	})
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writes = append(s.writes, w)
	}
	return err
}

func (s *seam) check(w written) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil && s.broken(w) {
		return domain.ErrUnavailable
	}
	return nil
}

// breaks has updates fail that do what it says; nil ends that.
func (s *seam) breaks(when func(written) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = when
}

// written are the updates so far.
func (s *seam) written() []written {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

func (s *seam) marksRead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.marks
}

type seamReader struct {
	ports.Reader
	l *looked
}

func (r seamReader) Marks(room domain.RoomID, devices []ports.UserDevice) ([]ports.DeviceMark, error) {
	r.l.marks = room
	return r.Reader.Marks(room, devices)
}

func (r seamReader) MessagesAfter(room domain.RoomID, seq int64, limit int) ([]domain.Message, error) {
	r.l.messages = room
	return r.Reader.MessagesAfter(room, seq, limit)
}

func (r seamReader) Places(user domain.UserID, device domain.DeviceID) (ports.Places, error) {
	r.l.places = user
	return r.Reader.Places(user, device)
}

func (r seamReader) Notices(user domain.UserID, after int64, limit int) ([]domain.Notice, error) {
	r.l.notices = user
	return r.Reader.Notices(user, after, limit)
}

type seamTx struct {
	ports.Tx
	w *written
}

func (tx seamTx) RaiseMark(room domain.RoomID, user domain.UserID, device domain.DeviceID, mark domain.Mark) (domain.Mark, error) {
	tx.w.marks++
	return tx.Tx.RaiseMark(room, user, device, mark)
}

func (tx seamTx) SettleNotice(user domain.UserID, id domain.NotificationID) (bool, error) {
	tx.w.notices++
	return tx.Tx.SettleNotice(user, id)
}

func (tx seamTx) SeeDevice(user domain.UserID, device domain.DeviceID, userRev int64, at time.Time) error {
	tx.w.devices++
	return tx.Tx.SeeDevice(user, device, userRev, at)
}

func (tx seamTx) GrowDeadLetter(letter domain.DeadLetter) error {
	tx.w.letters++
	return tx.Tx.GrowDeadLetter(letter)
}

func (tx seamTx) AddDeadLetter(letter domain.DeadLetter) error {
	tx.w.letters++
	return tx.Tx.AddDeadLetter(letter)
}

func (tx seamTx) RemoveSubscription(id domain.SubscriptionID) error {
	letters, err := tx.DeadLetters(true, domain.MaxDeadLetters)
	if err != nil {
		return err
	}
	tx.w.removed, tx.w.lettersAtRemoval = tx.w.removed+1, len(letters)
	return tx.Tx.RemoveSubscription(id)
}

// lateBus brings what is published later, while it is told to: others act before a node hears of what has happened.
type lateBus struct {
	ports.Bus
	late atomic.Bool
}

const busDelay = 2 * time.Second

func (b *lateBus) Publish(ctx context.Context, channel string, payload []byte) error {
	if b.late.Load() {
		time.Sleep(busDelay)
	}
	return b.Bus.Publish(ctx, channel, payload)
}
