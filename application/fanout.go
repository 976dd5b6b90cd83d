package application

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Fanout brings every committed event to every socket of every member, in order of rev. The room's own log is its
// queue: events travel over the bus as hints, and whoever misses one, a slow socket, a node or a client that comes
// back, is caught up from the log. Nothing is dropped, nothing reordered, and nobody waits for anybody.
type Fanout struct {
	store    ports.Store
	bus      ports.Bus
	enc      ports.Encoder
	delivery *Delivery
	presence *Presence
	hints    *Hints
	usage    *Usage
	tenants  CurrentTenants
	ids      ports.IDs
	clock    ports.Clock
	log      *slog.Logger
	cfg      FanoutConfig
	epoch    domain.Epoch
	grain    time.Duration // of redelivery
	started  time.Time     // see moment
	notices  noticed

	committed *commitQueue
	shards    [shardCount]shard
	catchups  *catchupQueue
	lost      chan struct{} // hints may have been: sweep now
	typists   typists
	tailBytes atomic.Int64
	counters  fanoutCounters

	listening sync.Mutex
	cancels   []func() // of the subscriptions

	mu       sync.Mutex
	users    map[ports.TenantUser]map[*Peer]struct{}
	watchers map[*Peer]struct{} // of one room each; see Watch
}

// FanoutConfig bounds the fan-out.
type FanoutConfig struct {
	MaxPerUser int          // sockets of one user; default 5
	Slots      *Slots       // counts them on all nodes; nil: there is only this one
	TailBytes  int64        // frames of active rooms kept in memory; default 64 MiB
	Retry      domain.Retry // of what is not acknowledged on an open socket; default as domain says
}

// FanoutStats are counters since the start and the present sizes.
type FanoutStats struct {
	Dispatched     int64 // events taken from the commit log
	Received       int64 // events received from the bus
	Pushed         int64 // frames handed to sockets
	Hints          int64 // frames of typing, receipts and presence offered to sockets
	Overflows      int64 // pushes that a full socket queue refused
	CatchUps       int64 // stretches of a log read from the store
	Repairs        int64 // rooms, and tenants' notifications, that a sweep or a gap found behind
	Redelivered    int64 // messages and notifications that were pushed again because they were not acknowledged
	Unacknowledged int64 // dead letters of those
	Peers          int
	Rooms          int
	TailBytes      int64
}

type fanoutCounters struct {
	dispatched, received, pushed, hints, overflows, catchUps, repairs, redelivered, unacknowledged atomic.Int64
}

const (
	shardCount      = 64
	defaultPerUser  = 5
	defaultTailSize = 64 << 20
	committedBound  = 4096 // events; above it the writer waits
)

// NewFanout wires the fan-out. Give its Committed to the commit log before the first write, and Run it.
func NewFanout(store ports.Store, epoch ports.EpochReader, bus ports.Bus, enc ports.Encoder, delivery *Delivery,
	presence *Presence, hints *Hints, usage *Usage, tenants CurrentTenants, ids ports.IDs, clock ports.Clock, log *slog.Logger,
	cfg FanoutConfig) *Fanout {
	if cfg.MaxPerUser == 0 {
		cfg.MaxPerUser = defaultPerUser
	}
	if cfg.TailBytes == 0 {
		cfg.TailBytes = defaultTailSize
	}
	if cfg.Retry.Max == 0 {
		cfg.Retry = domain.Retry{Max: domain.DefaultRetryMax, Interval: domain.DefaultRetryInterval}
	}
	f := &Fanout{
		store: store, bus: bus, enc: enc, delivery: delivery, presence: presence, hints: hints, usage: usage, tenants: tenants,
		ids: ids, clock: clock, log: log, cfg: cfg, grain: grainOf(cfg.Retry),
		started:   time.Now(),
		notices:   noticed{tenants: map[domain.TenantID]*hearing{}},
		epoch:     epoch.Epoch(),
		committed: newCommitQueue(committedBound),
		catchups:  newCatchupQueue(),
		lost:      make(chan struct{}, 1),
		typists:   typists{until: map[hintKey]typist{}},
		users:     map[ports.TenantUser]map[*Peer]struct{}{},
		watchers:  map[*Peer]struct{}{},
	}
	for i := range f.shards {
		f.shards[i].rooms = map[domain.RoomID]*liveRoom{}
	}
	return f
}

// Epoch is the life of the log that positions belong to.
func (f *Fanout) Epoch() domain.Epoch { return f.epoch }

// Committed takes what was committed, in commit order. It blocks while the dispatcher is far behind, which holds back
// the writer: admission is controlled at ingest.
func (f *Fanout) Committed(events []domain.Event) { f.committed.put(events) }

// Run dispatches, catches up and sweeps until ctx ends.
func (f *Fanout) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { f.dispatch(ctx) })
	running.Go(func() { f.sweep(ctx) })
	running.Go(func() { f.redeliver(ctx) })
	running.Go(func() { f.stopTypists(ctx) })
	for range 2 * runtime.GOMAXPROCS(0) {
		running.Go(func() { f.catchUpLoop(ctx) })
	}
	<-ctx.Done()
	f.committed.close()
	f.catchups.close()
	running.Wait()
	f.stopListening()
	return nil
}

// dispatch publishes committed events: one payload for each channel of a batch.
func (f *Fanout) dispatch(ctx context.Context) {
	for {
		events := f.committed.take()
		if events == nil {
			return
		}
		f.counters.dispatched.Add(int64(len(events)))
		var payloads [shardCount][]byte
		var notices []byte
		for _, e := range events {
			if e.Notice != nil {
				notices = appendNotice(notices, f.enc, e)
				continue
			}
			at := shardOf(e.Room)
			payloads[at] = appendSignal(payloads[at], newSignal(f.enc, e))
		}
		for at, payload := range payloads {
			if payload == nil {
				continue
			}
			f.publish(ctx, channelOf(at), payload)
		}
		if notices != nil {
			f.publish(ctx, noticesChannel, notices)
		}
	}
}

func (f *Fanout) publish(ctx context.Context, channel string, payload []byte) {
	if err := f.bus.Publish(ctx, channel, payload); err != nil {
		f.log.Warn("hint not published", "error", err)
	}
}

// receive brings what the bus delivers to the rooms of this node.
func (f *Fanout) receive(at int, s ports.Signal) {
	if s.Lost { // all shards are, within moments of each other
		signalTo(f.lost)
		return
	}
	for rest := s.Payload; len(rest) > 0; {
		var sig signal
		var err error
		if sig, rest, err = readSignal(rest); err != nil {
			f.log.Error("signal not understood", "error", err, "channel", channelOf(at))
			return
		}
		f.counters.received.Add(1)
		if sig.Rev > 0 {
			f.deliver(at, sig)
		} else if r := f.shards[at].find(sig.Room); r != nil {
			r.hint(f, sig)
		}
	}
}

// deliver gives one event to the room's sockets on this node. A room that nobody here watched is watched from the event
// on that makes a user with sockets here its member.
func (f *Fanout) deliver(at int, sig signal) {
	s := &f.shards[at]
	for {
		r := s.find(sig.Room)
		if r == nil && sig.admits() && len(f.newcomers(sig)) > 0 {
			r, _ = s.findOrAdd(sig.Room, sig.tenant, sig.Rev-1, sig.members())
		}
		if r == nil || r.deliver(f, sig) {
			return
		}
	}
}

// admits reports whether the event makes its users members.
func (s signal) admits() bool {
	return s.Kind == domain.EventRoomCreated || s.Kind == domain.EventMemberAdded
}

// newcomers are the sockets of the users whom an event makes members.
func (f *Fanout) newcomers(sig signal) (peers []*Peer) {
	for _, user := range sig.users {
		peers = append(peers, f.peersOf(ports.TenantUser{Tenant: sig.tenant, User: user})...)
	}
	return peers
}

// seat gives a peer its place in a room: everything above pos is still to be sent. last is the room's position as the
// caller knows it, used when this node did not watch the room yet; added is the room then.
func (f *Fanout) seat(p *Peer, at place) (added *liveRoom) {
	s := &f.shards[shardOf(at.room)]
	for {
		r, isNew := s.findOrAdd(at.room, p.caller.Tenant.ID, at.last, at.members)
		if !r.sit(p, at) {
			continue
		}
		if isNew {
			return r
		}
		return nil
	}
}

func (f *Fanout) peersOf(u ports.TenantUser) []*Peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	peers := make([]*Peer, 0, len(f.users[u]))
	for p := range f.users[u] {
		peers = append(peers, p)
	}
	return peers
}

// CloseCredential closes the sockets opened with a credential; with credential empty all sockets of the tenant.
func (f *Fanout) CloseCredential(tenant domain.TenantID, credential string) {
	const revoked = 4401
	for _, p := range append(f.peers(), f.watching()...) {
		if p.caller.Tenant.ID == tenant && (credential == "" || p.current().Credential == credential) {
			p.sink.Close(revoked, "credential revoked")
		}
	}
}

// Credentials implements CredentialCloser.
func (f *Fanout) Credentials() []Caller {
	seen := map[string]struct{}{}
	var callers []Caller
	for _, p := range append(f.peers(), f.watching()...) {
		c := p.current()
		if _, ok := seen[c.source]; !ok {
			seen[c.source] = struct{}{}
			callers = append(callers, c)
		}
	}
	return callers
}

// present are the tenants that have sockets on this node.
func (f *Fanout) present() map[domain.TenantID]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	tenants := map[domain.TenantID]struct{}{}
	for user := range f.users {
		tenants[user.Tenant] = struct{}{}
	}
	return tenants
}

// OpenSockets counts a tenant's sockets on this node.
func (f *Fanout) OpenSockets(tenant domain.TenantID) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for user, peers := range f.users {
		if user.Tenant == tenant {
			n += len(peers)
		}
	}
	return n
}

func (f *Fanout) peers() []*Peer {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*Peer
	for _, peers := range f.users {
		for p := range peers {
			all = append(all, p)
		}
	}
	return all
}

// Stats reads the counters.
func (f *Fanout) Stats() FanoutStats {
	c := &f.counters
	s := FanoutStats{
		Dispatched: c.dispatched.Load(), Received: c.received.Load(), Pushed: c.pushed.Load(), Hints: c.hints.Load(),
		Overflows: c.overflows.Load(), CatchUps: c.catchUps.Load(), Repairs: c.repairs.Load(),
		Redelivered: c.redelivered.Load(), Unacknowledged: c.unacknowledged.Load(),
		TailBytes: f.tailBytes.Load(),
	}
	f.mu.Lock()
	for _, peers := range f.users {
		s.Peers += len(peers)
	}
	f.mu.Unlock()
	for i := range f.shards {
		s.Rooms += f.shards[i].size()
	}
	return s
}

// listen subscribes to all channels before the first socket takes a seat: a node must hear of every new member.
func (f *Fanout) listen() error {
	f.listening.Lock()
	defer f.listening.Unlock()
	for at := len(f.cancels); at < shardCount+2; at++ {
		channel, handle := f.subscription(at)
		cancel, err := f.bus.Subscribe(channel, handle)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", channel, err)
		}
		f.cancels = append(f.cancels, cancel)
	}
	return nil
}

// subscription is the at-th of those that a node with sockets has: one a shard, then those of presence and notifications.
func (f *Fanout) subscription(at int) (channel string, handle func(ports.Signal)) {
	switch at {
	case shardCount:
		return presenceChannel, f.receivePresence
	case shardCount + 1:
		return noticesChannel, f.receiveNotices
	}
	return channelOf(at), func(sig ports.Signal) { f.receive(at, sig) }
}

func (f *Fanout) stopListening() {
	f.listening.Lock()
	defer f.listening.Unlock()
	for _, cancel := range f.cancels {
		cancel()
	}
	f.cancels = nil
}

func shardOf(room domain.RoomID) int { return int(room[len(room)-1]) % shardCount }

func channelOf(at int) string { return channelNames[at] }

var channelNames = func() (names [shardCount]string) {
	for i := range names {
		names[i] = fmt.Sprintf("rooms.%02d", i)
	}
	return names
}()

// receivePresence brings a user's coming or going to the sockets of those who share a room of at most
// domain.MaxHintMembers with them, once each. When one was lost on the way, it is told again.
func (f *Fanout) receivePresence(s ports.Signal) {
	if s.Lost {
		f.presence.lost()
		return
	}
	for rest := s.Payload; len(rest) > 0; {
		sig, rooms, more, err := readPresence(rest)
		if err != nil {
			f.log.Error("signal not understood", "error", err, "channel", presenceChannel)
			return
		}
		rest = more
		mates := map[*Peer]struct{}{}
		for _, id := range rooms {
			if r := f.shards[shardOf(id)].find(id); r != nil {
				r.addMates(mates, sig.User)
			}
		}
		for p := range mates {
			p.sink.Hint(sig.Frame)
			f.counters.hints.Add(1)
		}
	}
}

// addMates adds the sockets of everybody in the room but a user, unless the room has grown large.
func (r *liveRoom) addMates(mates map[*Peer]struct{}, user domain.UserID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isSmall() {
		return
	}
	for i := range r.seats {
		if s := &r.seats[i]; s.until == 0 && s.peer.caller.User != user {
			mates[s.peer] = struct{}{}
		}
	}
}
