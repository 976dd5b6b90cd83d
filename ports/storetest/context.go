package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

var contextContracts = []contract{
	{"a context that ended before keeps the work from running", endedContextDoesNotRun},
	{"a context that ends during the work is ignored", contextIsIgnoredOnceStarted},
	{"a job whose context ends while it waits has run or has not, and says which", cancelledWhileWaiting},
	{"cancelled sends leave no gap", cancelledSendsLeaveNoGap},
}

func endedContextDoesNotRun(f *fixture) {
	room := f.group("ann", "bob")
	ctx, cancel := context.WithCancel(f.t.Context())
	cancel()
	late, stop := context.WithTimeout(f.t.Context(), -1)
	defer stop()
	f.unchanged(room.ID, func() {
		f.doesNotRun(ctx, room.ID, context.Canceled)
		f.doesNotRun(late, room.ID, context.DeadlineExceeded)
	})
}

func (f *fixture) doesNotRun(ctx context.Context, room domain.RoomID, want error) {
	f.t.Helper()
	err := f.db.View(ctx, f.tenant, func(ports.Reader) error {
		f.t.Error("View ran although its context had ended")
		return nil
	})
	wantError(f.t, "View", err, want)
	err = f.db.Update(ctx, f.tenant, func(tx ports.Tx) error {
		f.t.Error("Update ran although its context had ended")
		_, err := tx.AddMember(room, "eve", domain.RoleMember, f.now())
		return err
	})
	wantError(f.t, "Update", err, want)
	send := f.newSend("ann", domain.Draft{Content: "never"})
	in := domain.Intent{Room: room, Sender: "ann"}
	_, err = f.db.Append(ctx, f.tenant, in, func(s domain.Snapshot) (domain.Change, error) {
		f.t.Error("decide ran although its context had ended")
		return send.Decide(s)
	})
	wantError(f.t, "Append", err, want)
}

func contextIsIgnoredOnceStarted(f *fixture) {
	room := f.group("ann")
	ctx, cancel := context.WithCancel(f.t.Context())
	err := f.db.Update(ctx, f.tenant, func(tx ports.Tx) error {
		cancel()
		_, err := tx.AddMember(room.ID, "bob", domain.RoleMember, f.now())
		return err
	})
	equal(f.t, "Update, cancelled while it ran", err, nil)
	ctx, cancel = context.WithCancel(f.t.Context())
	send := f.newSend("bob", domain.Draft{Content: "stored all the same"})
	in := domain.Intent{Room: room.ID, Sender: "bob"}
	_, err = f.db.Append(ctx, f.tenant, in, func(s domain.Snapshot) (domain.Change, error) {
		cancel()
		return send.Decide(s)
	})
	equal(f.t, "Append, cancelled while it ran", err, nil)
	ctx, cancel = context.WithCancel(f.t.Context())
	err = f.db.View(ctx, f.tenant, func(r ports.Reader) error {
		cancel()
		_, err := r.Message(room.ID, send.ID)
		return err
	})
	equal(f.t, "View, cancelled while it ran", err, nil)
	f.dense(room.ID)
}

// cancelledWhileWaiting holds one job open and cancels another behind it. A store that had not started it says so
// and has not run it; one that had started it finishes it.
func cancelledWhileWaiting(f *fixture) {
	room := f.group("ann")
	entered, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- f.tryUpdate(func(tx ports.Tx) error {
			if _, err := tx.AddMember(room.ID, "bob", domain.RoleMember, f.now()); err != nil {
				return err
			}
			close(entered)
			<-release
			return nil
		})
	}()
	<-entered
	ctx, cancel := context.WithCancel(f.t.Context())
	second := make(chan error, 1)
	go func() {
		second <- f.db.Update(ctx, f.tenant, func(tx ports.Tx) error {
			_, err := tx.AddMember(room.ID, "cid", domain.RoleMember, f.now())
			return err
		})
	}()
	cancel()
	close(release)
	equal(f.t, "the job that was not cancelled", <-first, nil)
	f.ranOrNot(room.ID, "cid", <-second)
	f.dense(room.ID)
}

// ranOrNot compares what a call said with what it did: added a member, or did nothing for its context's sake.
func (f *fixture) ranOrNot(room domain.RoomID, user domain.UserID, err error) {
	f.t.Helper()
	members := f.membersNow(room)
	in := members[len(members)-1].User == user
	if in != (err == nil) || (err != nil && !errors.Is(err, context.Canceled)) {
		f.t.Errorf("a cancelled job answered %v, and has run: %t", err, in)
	}
}

func cancelledSendsLeaveNoGap(f *fixture) {
	room := f.group("ann")
	var stored atomic.Int64
	parallel(f.t, writers, func(w int) error {
		for i := range 12 {
			ctx, cancel := context.WithCancel(f.t.Context())
			if i%2 == 0 {
				go cancel()
			}
			send := f.newSend("ann", domain.Draft{Content: fmt.Sprint(w, i)})
			_, err := f.db.Append(ctx, f.tenant, domain.Intent{Room: room.ID, Sender: "ann"}, send.Decide)
			cancel()
			if err == nil {
				stored.Add(1)
			} else if i%2 == 1 || !errors.Is(err, context.Canceled) {
				return fmt.Errorf("send %d: %w", i, err)
			}
		}
		return nil
	})
	messages, _ := f.dense(room.ID)
	equal(f.t, "messages stored, against those answered", int64(len(messages)), stored.Load())
}
