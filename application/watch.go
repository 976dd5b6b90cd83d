package application

import (
	"context"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Watch registers a socket that follows one room of its user's, from now on, and nothing else: no other rooms and no
// notifications. What it gets it gets like any other, every step of the room's log in order, and is caught up when it was
// slow. It is no device: it acknowledges nothing, is sent nothing again, and does not make its user present. Errors are
// those of access to the room.
func (f *Fanout) Watch(ctx context.Context, caller Caller, room domain.RoomID, sink ports.Sink) (*Peer, error) {
	if err := f.listen(); err != nil {
		return nil, err
	}
	p := &Peer{f: f, caller: caller, auto: true, watch: true, sink: sink, rooms: map[domain.RoomID]*liveRoom{}}
	f.mu.Lock()
	f.watchers[p] = struct{}{}
	f.mu.Unlock()
	f.usage.opened(caller.Tenant.ID)
	if _, err := p.Subscribe(ctx, room, nil); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// watching are the sockets that follow one room.
func (f *Fanout) watching() []*Peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*Peer, 0, len(f.watchers))
	for p := range f.watchers {
		all = append(all, p)
	}
	return all
}
