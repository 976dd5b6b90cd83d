package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

const (
	roomCount   = 1000
	roomMembers = 5
)

// manyRooms is W3: 1,000 rooms of 5 with 5,000 sockets, at 2,000 messages a second and flat out with 64 senders.
func (b *bench) manyRooms() error {
	if b.maxConn < roomCount*roomMembers {
		return fmt.Errorf("5,000 sockets need more open files than the limit allows (%d)", b.maxConn)
	}
	return b.with(func(tenant *harness.Tenant) error {
		rooms, err := smallRooms(tenant, roomCount)
		if err != nil {
			return err
		}
		sockets, err := dialAll(tenant, roomCount*roomMembers, member)
		defer func() { closeAll(sockets) }()
		if err != nil {
			return err
		}
		net := newNetwork(rooms, sockets)
		if err := b.roomsPaced(tenant, net); err != nil {
			return err
		}
		return b.roomsFlatOut(tenant, net)
	})
}

// member names the i-th user: five follow each other in one room.
func member(i int) string { return fmt.Sprintf("u%d", i) }

// smallRooms makes n rooms of 5.
func smallRooms(tenant *harness.Tenant, n int) ([]string, error) {
	rooms := make([]string, n)
	for r := range rooms {
		users := make([]string, roomMembers)
		for i := range users {
			users[i] = member(r*roomMembers + i)
		}
		room, err := tenant.Backend().CreateRoom("group", users...)
		if err != nil {
			return nil, err
		}
		rooms[r] = room.RoomID
	}
	return rooms, nil
}

// network is the rooms with their sockets, all of which are read for the life of the workload.
type network struct {
	rooms   []string
	sockets []*socket
	replies []chan struct{} // of each room's sender
	window  atomic.Pointer[window]
}

func newNetwork(rooms []string, sockets []*socket) *network {
	n := &network{rooms: rooms, sockets: sockets, replies: make([]chan struct{}, len(rooms))}
	n.window.Store(newWindow())
	for i, s := range sockets {
		reply := make(chan struct{}, 16)
		if i%roomMembers == 0 {
			n.replies[i/roomMembers] = reply
		}
		seen := 0
		s.follow(func(p []byte) {
			if bytes.HasPrefix(p, isReply) {
				select {
				case reply <- struct{}{}:
				default: // paced sends do not take their replies
				}
				return
			}
			n.window.Load().receive(i, p, &seen, 1)
		})
	}
	return n
}

// sender is the socket that sends in a room.
func (n *network) sender(room int) *socket { return n.sockets[room*roomMembers] }

func (b *bench) roomsPaced(tenant *harness.Tenant, net *network) error {
	const rate, pacers = 2000, 4
	w := net.window.Load()
	r, err := b.load(tenant, w, pacers, func(p int) error {
		frames := make([][]byte, len(net.rooms))
		at := 0
		for i, room := range net.rooms {
			frames[i], at = sendFrame(room)
		}
		return paced(rate/pacers, w, func(_ int, due time.Time) error {
			room := rand.IntN(len(net.rooms)/pacers)*pacers + p // each pacer has its own rooms: one writer a socket
			stamp(frames[room], at, due)
			w.sent.add(p)
			_, err := net.sender(room).conn.Write(frames[room])
			return err
		})
	})
	if err != nil {
		return err
	}
	b.reportRooms("W3 paced, 2,000 msg/s", w, r, [3]float64{0, 0.15, 5})
	return firstError(net.sockets)
}

func (b *bench) roomsFlatOut(tenant *harness.Tenant, net *network) error {
	const senders = 64
	w := newWindow()
	net.window.Store(w)
	for _, replies := range net.replies {
		for len(replies) > 0 {
			<-replies
		}
	}
	r, err := b.load(tenant, w, senders, func(i int) error {
		for n := i; !w.stopped.Load(); n += senders {
			room := n % len(net.rooms) / senders * senders
			if room += i; room >= len(net.rooms) {
				continue // the last, shorter row of rooms
			}
			frame, at := sendFrame(net.rooms[room])
			stamp(frame, at, time.Now())
			if _, err := net.sender(room).conn.Write(frame); err != nil {
				return err
			}
			select {
			case <-net.replies[room]:
				w.sent.add(i)
			case <-time.After(dialTimeout):
				return fmt.Errorf("no reply in room %d", room)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.reportRooms("W3 flat out", w, r, [3]float64{13_000, 0.09, 0})
	return firstError(net.sockets)
}

func (b *bench) reportRooms(name string, w *window, r result, target [3]float64) {
	b.report.high(name, "stored", r.sent/r.seconds, "msg/s", target[0])
	b.report.high(name, "deliveries", r.received/r.seconds, "per s", target[0]*roomMembers)
	b.report.low(name, "CPU", r.cpu/r.sent*1000, "s/1k msg", target[1])
	b.report.latency(name, w.took.total(), 0, target[2])
	b.report.high(name, "delivered", w.drain(roomMembers), "%", allOfIt)
}
