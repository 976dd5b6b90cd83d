package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// fanOut is W2: one room, many sockets. Paced: 20,000 deliveries a second; flat out: 8 closed-loop senders.
func (b *bench) fanOut() error {
	for _, c := range []struct {
		members       int
		cpu, p50, p99 float64
	}{{100, 6, 0, 2}, {1000, 8, 8.5, 0}} {
		if err := b.with(func(t *harness.Tenant) error { return b.fanOutPaced(t, c.members, c.cpu, c.p50, c.p99) }); err != nil {
			return err
		}
	}
	return b.with(b.fanOutFlatOut)
}

// crowd makes one room with n members and their sockets.
func crowd(tenant *harness.Tenant, n int) (room string, sockets []*socket, err error) {
	made, err := tenant.Backend().CreateRoom("group", "m0")
	if err != nil {
		return "", nil, err
	}
	users := make([]string, n)
	for i := range users {
		users[i] = fmt.Sprintf("m%d", i)
	}
	if err := tenant.Backend().AddMembers(made.RoomID, users...); err != nil {
		return "", nil, err
	}
	sockets, err = dialAll(tenant, n, func(i int) string { return users[i] })
	return made.RoomID, sockets, err
}

// receive counts a message and takes the age of every sample-th.
func (w *window) receive(who int, payload []byte, seen *int, sample int) {
	if !bytes.HasPrefix(payload, isMessage) {
		return
	}
	w.received.add(who)
	if *seen++; *seen%sample != 0 || !w.measuring.Load() {
		return
	}
	if old, ok := age(payload, time.Now()); ok {
		w.took.add(who, old)
	}
}

func (b *bench) fanOutPaced(tenant *harness.Tenant, members int, cpu, p50, p99 float64) error {
	const deliveries, pacers = 20_000, 8
	room, sockets, err := crowd(tenant, members)
	defer func() { closeAll(sockets) }()
	if err != nil {
		return err
	}
	w := newWindow()
	for i, s := range sockets {
		seen := 0
		s.follow(func(p []byte) { w.receive(i, p, &seen, 1) })
	}
	r, err := b.load(tenant, w, 1, func(int) error {
		frame, at := sendFrame(room)
		return paced(float64(deliveries)/float64(members), w, func(n int, due time.Time) error {
			stamp(frame, at, due)
			w.sent.add(0)
			_, err := sockets[n%pacers].conn.Write(frame)
			return err
		})
	})
	if err != nil {
		return err
	}
	b.reportFanOut(fmt.Sprintf("W2 paced, %d members", members), w, r, int64(members), [4]float64{0, cpu, p50, p99})
	return nil
}

func (b *bench) fanOutFlatOut(tenant *harness.Tenant) error {
	const members, senders, sample = 1000, 8, 16
	room, sockets, err := crowd(tenant, members)
	defer func() { closeAll(sockets) }()
	if err != nil {
		return err
	}
	w := newWindow()
	for i, s := range sockets[senders:] {
		seen := 0
		s.follow(func(p []byte) { w.receive(i, p, &seen, sample) })
	}
	r, err := b.load(tenant, w, senders, func(i int) error { return b.flatOut(sockets[i], i, room, w) })
	if err != nil {
		return err
	}
	b.report.high("W2 flat out, 1000 members", "stored", r.sent/r.seconds, "msg/s", 0)
	b.reportFanOut("W2 flat out, 1000 members", w, r, members, [4]float64{400_000, 2.5, 0, 0})
	return nil
}

// flatOut is a closed loop whose own socket counts as a receiver as well.
func (b *bench) flatOut(s *socket, who int, room string, w *window) error {
	frame, at := sendFrame(room)
	receive := func([]byte) { w.received.add(who) }
	for !w.stopped.Load() {
		stamp(frame, at, time.Now())
		if _, err := s.conn.Write(frame); err != nil {
			return err
		}
		if err := s.awaitReply(receive); err != nil {
			return err
		}
		w.sent.add(who)
	}
	s.follow(func(p []byte) {
		if bytes.HasPrefix(p, isMessage) {
			receive(p)
		}
	})
	return nil
}

func (b *bench) reportFanOut(name string, w *window, r result, members int64, target [4]float64) {
	b.report.high(name, "deliveries", r.received/r.seconds, "per s", target[0])
	b.report.low(name, "CPU", r.cpu/r.received*1e6, "µs/delivery", target[1])
	b.report.low(name, "CPU, in bare write(2)s", r.cpu/r.received*1e6/b.writeFloor, "floors", 0)
	b.report.latency(name, w.took.total(), target[2], target[3])
	b.report.high(name, "delivered", w.drain(members), "%", allOfIt)
}

// firstError is the reason why any of the sockets has ended.
func firstError(sockets []*socket) error {
	for _, s := range sockets {
		select {
		case <-s.done:
			return errors.Join(errors.New("a socket ended"), s.err)
		default:
		}
	}
	return nil
}
