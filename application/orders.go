package application

import (
	"context"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// runsChannel carries orders to the nodes whose runs they are about. A stop or a hush that is
// lost is found in the store by the run, half a second later; a tell is asked again with the stream's next part.
const runsChannel = "runs"

// The orders.
const (
	orderTell domain.EventKind = "run.tell" // all of a stream once more, for a node that has missed some
	orderStop domain.EventKind = "run.stop" // end an answer
	orderHush domain.EventKind = "run.hush" // end all answers in a room that are older than its Rev: people answer now
)

// newOrder makes an order about a stream, or with a zero message about all in a room.
func newOrder(kind domain.EventKind, tenant domain.TenantID, room domain.RoomID, message domain.MessageID) signal {
	s := signal{tenant: tenant}
	s.Room, s.Kind, s.Bytes = room, kind, message[:]
	return s
}

// receive carries out the orders that are about runs of this node.
func (r *Runner) receive(s ports.Signal) {
	for rest := s.Payload; len(rest) > 0; {
		order, more, err := readSignal(rest)
		if err != nil {
			r.Logger.Error("signal not understood", "error", err, "channel", runsChannel)
			return
		}
		rest = more
		var message domain.MessageID
		copy(message[:], order.Bytes)
		for _, u := range r.about(order.Room, message) {
			switch order.Kind {
			case orderTell:
				u.want()
			case orderStop:
				u.cancel(errStopped)
			case orderHush:
				if u.since() < order.Rev {
					u.cancel(errHuman)
				}
			}
		}
	}
}

// since is the room's rev at the time when the run last saw that it may speak. It takes no lock: an order may come while the
// run publishes under its own.
func (u *botRun) since() int64 { return u.saw.Load() }

// want has the run tell all of its answer once more, in its turn: who asks may be in the middle of hearing it.
func (u *botRun) want() { signalTo(u.wanted) }

// about are the runs here that an order is about.
func (r *Runner) about(room domain.RoomID, message domain.MessageID) (runs []*botRun) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, u := range r.running {
		if u.claim.Room == room && (message.IsZero() || id == message) {
			runs = append(runs, u)
		}
	}
	return runs
}

func (r *Runner) enter(u *botRun) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[u.part.Message] = u
}

func (r *Runner) leave(u *botRun) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, u.part.Message)
}

// publish tells a part of a stream to the nodes that have sockets in its room.
func (r *Runner) publish(part domain.StreamPart) {
	payload := appendSignal(nil, newStreamSignal(part))
	if err := r.Bus.Publish(context.Background(), channelOf(shardOf(part.Room)), payload); err != nil {
		r.Logger.Warn("hint not published", "error", err)
	}
}

// order sends an order to all nodes.
func (r *Runner) order(ctx context.Context, s signal) {
	if err := r.Bus.Publish(ctx, runsChannel, appendSignal(nil, s)); err != nil {
		r.Logger.Warn("hint not published", "error", err)
	}
}
