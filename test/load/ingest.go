package main

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// allOfIt is the target of every delivery, in percent.
const allOfIt = 100

// ingestTargets are the figures of W1 to reach: messages a second, CPU seconds per 1,000, p50 and p99 in ms.
var ingestTargets = map[int][4]float64{16: {13_000, 0, 1.2, 3.5}, 64: {20_000, 0.045, 0, 10}}

// ingest is W1: closed-loop senders, each in a room of two. Every message is stored, answered, and delivered to the
// other member; over sockets the sender sees it too.
func (b *bench) ingest() error {
	for _, senders := range []int{1, 16, 64} {
		if err := b.with(func(t *harness.Tenant) error { return b.ingestSockets(t, senders) }); err != nil {
			return err
		}
	}
	for _, senders := range []int{16, 64} {
		if err := b.with(func(t *harness.Tenant) error { return b.ingestREST(t, senders) }); err != nil {
			return err
		}
	}
	return nil
}

// pairs makes n rooms of two, and the sockets of the second members, which count what they receive.
func pairs(tenant *harness.Tenant, n int, w *window) (rooms []string, partners []*socket, err error) {
	for i := range n {
		room, err := tenant.Backend().CreateRoom("group", fmt.Sprintf("s%d", i), fmt.Sprintf("p%d", i))
		if err != nil {
			return nil, nil, err
		}
		rooms = append(rooms, room.RoomID)
	}
	partners, err = dialAll(tenant, n, func(i int) string { return fmt.Sprintf("p%d", i) })
	for i, p := range partners {
		if p != nil && err == nil {
			p.follow(func(payload []byte) {
				if bytes.HasPrefix(payload, isMessage) {
					w.received.add(i)
				}
			})
		}
	}
	return rooms, partners, err
}

func (b *bench) ingestSockets(tenant *harness.Tenant, senders int) error {
	return b.sendOverSockets(tenant, senders, func(w *window, r result) {
		b.reportIngest(fmt.Sprintf("W1 ws, %d senders", senders), ingestTargets[senders], w, r)
	})
}

// sendOverSockets measures closed-loop senders over sockets; report is called while the other members still receive.
func (b *bench) sendOverSockets(tenant *harness.Tenant, senders int, report func(*window, result)) error {
	w := newWindow()
	rooms, partners, err := pairs(tenant, senders, w)
	defer func() { closeAll(partners) }()
	if err != nil {
		return err
	}
	own, err := dialFrom(1, tenant, senders, func(i int) string { return fmt.Sprintf("s%d", i) })
	defer func() { closeAll(own) }()
	if err != nil {
		return err
	}
	r, err := b.load(tenant, w, senders, func(i int) error {
		return closedLoop(own[i], i, rooms[i], w, func([]byte) {})
	})
	if err == nil {
		report(w, r)
	}
	return err
}

func (b *bench) ingestREST(tenant *harness.Tenant, senders int) error {
	w := newWindow()
	rooms, partners, err := pairs(tenant, senders, w)
	defer func() { closeAll(partners) }()
	if err != nil {
		return err
	}
	r, err := b.sendOverREST(tenant, w, senders, func(i int) string { return rooms[i] })
	if err != nil {
		return err
	}
	b.reportIngest(fmt.Sprintf("W1 REST, %d senders", senders), [4]float64{}, w, r)
	return nil
}

// sendOverREST measures closed-loop senders s0, s1, … each in its room.
func (b *bench) sendOverREST(tenant *harness.Tenant, w *window, senders int, room func(i int) string) (result, error) {
	return b.load(tenant, w, senders, func(i int) error {
		conn, err := dialHTTP(tenant.Server())
		if err != nil {
			return err
		}
		defer conn.Close()
		body := fmt.Sprintf(`{"content":%q}`, content())
		post := request(tenant, fmt.Sprintf("s%d", i), "POST", "/rooms/"+room(i)+"/messages", body)
		return conn.post(post, w.stopped.Load, func(took time.Duration) {
			w.sent.add(i)
			w.record(i, took)
		})
	})
}

// hotRoom is closed-loop senders over REST who are all members of one room, with nobody on a socket: what the lock of one
// room lets through.
func (b *bench) hotRoom() error {
	return b.with(func(tenant *harness.Tenant) error {
		const senders = 64
		members := make([]string, senders)
		for i := range members {
			members[i] = fmt.Sprintf("s%d", i)
		}
		room, err := tenant.Backend().CreateRoom("group", members...)
		if err != nil {
			return err
		}
		w := newWindow()
		r, err := b.sendOverREST(tenant, w, senders, func(int) string { return room.RoomID })
		if err != nil {
			return err
		}
		at := fmt.Sprintf("hot room, REST, %d senders", senders)
		b.report.high(at, "stored", r.sent/r.seconds, "msg/s", 0)
		b.report.high(at, "stored, in bare fdatasyncs", r.sent/r.seconds/b.syncFloor, "floors", 0)
		b.report.low(at, "CPU", r.cpu/r.sent*1000, "s/1k msg", 0)
		b.report.latency(at, w.took.total(), 0, 0)
		return nil
	})
}

// load runs n goroutines of work beside a measured window and waits for them.
func (b *bench) load(tenant *harness.Tenant, w *window, n int, work func(i int) error) (result, error) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = work(i) })
	}
	r, err := w.measure(tenant.Server(), b.window, func() error { return b.profileFor(tenant.Server(), b.window) })
	wg.Wait()
	return r, errors.Join(err, some(errs))
}

func (b *bench) reportIngest(name string, target [4]float64, w *window, r result) {
	b.report.high(name, "stored", r.sent/r.seconds, "msg/s", target[0])
	b.report.high(name, "stored, in bare fdatasyncs", r.sent/r.seconds/b.syncFloor, "floors", 0)
	b.report.low(name, "CPU", r.cpu/r.sent*1000, "s/1k msg", target[1])
	b.report.latency(name, w.took.total(), target[2], target[3])
	b.report.high(name, "delivered to the other", w.drain(1), "%", allOfIt)
}
