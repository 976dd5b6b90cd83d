package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// nodes measures one, two and three nodes on one Postgres and one Redis: how much is stored, what of the machine it takes, and
// what a delivery costs and how long it lasts when it goes to another node than the message came from. The machine is the
// same for one node as for three: what grows with nodes is the CPU a message takes, not what the machine can do.
func (b *bench) nodes() error {
	if b.topology != harness.Clustered {
		return nil
	}
	const most = 3
	for n := 1; n <= most; n++ {
		opts := harness.Options{Nodes: n}
		if err := b.withOptions(opts, func(tenant *harness.Tenant) error { return b.nodesStore(tenant, n) }); err != nil {
			return err
		}
		if err := b.withOptions(opts, func(tenant *harness.Tenant) error { return b.nodesDeliver(tenant, n) }); err != nil {
			return err
		}
	}
	return nil
}

func name(workload string, nodes int) string {
	if nodes == 1 {
		return workload + ", 1 node"
	}
	return fmt.Sprintf("%s, %d nodes", workload, nodes)
}

// nodesStore is W1 with 64 sockets: each in a room of two whose members are at different nodes.
func (b *bench) nodesStore(tenant *harness.Tenant, n int) error {
	const senders = 64
	before, err := b.backends.CPU()
	if err != nil {
		return err
	}
	began := time.Now()
	return b.sendOverSockets(tenant, senders, func(w *window, r result) {
		after, failed := b.backends.CPU()
		share := r.seconds / time.Since(began).Seconds() // the warm-up takes its part
		at := name("nodes: 64 senders", n)
		b.reportIngest(at, [4]float64{}, w, r)
		if failed == nil {
			b.report.low(at, "CPU of Postgres and Redis", share*(after-before).Seconds()/r.sent*1000, "s/1k msg", 0)
		}
	})
}

// nodesDeliver is W2 paced, from one sender at the first node to 100 sockets at all of them.
func (b *bench) nodesDeliver(tenant *harness.Tenant, n int) error {
	const members, rate = 100, 200.0
	room, sockets, err := crowd(tenant, members)
	defer func() { closeAll(sockets) }()
	if err != nil {
		return err
	}
	here, across := newWindow(), newWindow()
	for i, s := range sockets {
		w, seen := across, 0
		if i%n == 0 {
			w = here
		}
		s.follow(func(p []byte) { w.receive(i, p, &seen, 1) })
	}
	across.measuring.Store(true) // from the warm-up on: its median and its tail are those of the whole run
	r, err := b.load(tenant, here, 1, func(int) error {
		frame, at := sendFrame(room)
		return paced(rate, here, func(_ int, due time.Time) error {
			stamp(frame, at, due)
			here.sent.add(0)
			_, err := sockets[0].conn.Write(frame)
			return err
		})
	})
	across.measuring.Store(false)
	if err != nil {
		return err
	}
	at := name("nodes: a room of 100", n)
	b.report.latency(at+", at the sender's node", here.took.total(), 0, 0)
	if n > 1 {
		b.report.latency(at+", at another node", across.took.total(), 0, 0)
	}
	b.report.low(at, "CPU of the nodes", r.cpu/(r.sent*members)*1e6, "µs/delivery", 0)
	want := here.sent.sum() * members
	late := harness.Until(20*time.Second, "all deliveries", func() bool { return here.received.sum()+across.received.sum() >= want })
	b.report.high(at, "delivered", 100*float64(here.received.sum()+across.received.sum())/float64(want), "%", allOfIt)
	return errors.Join(late, firstError(sockets))
}
