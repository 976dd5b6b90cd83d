package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// notify is what notifications take: to 1,000 users named, to a room of 9,000, all of them online, and to one user as
// fast as it goes.
func (b *bench) notify() error {
	const named, room = 1000, 9000
	if b.maxConn < room {
		return fmt.Errorf("9,000 sockets need more open files than the limit allows (%d)", b.maxConn)
	}
	err := b.with(func(tenant *harness.Tenant) error {
		users := make([]string, named)
		for i := range users {
			users[i] = member(i)
		}
		return b.notifyAll(tenant, "notify, 1,000 user_ids", named, 30, map[string]any{"user_ids": users})
	})
	if err != nil {
		return err
	}
	err = b.with(func(tenant *harness.Tenant) error {
		id, err := largeRoom(tenant, room)
		if err != nil {
			return err
		}
		return b.notifyAll(tenant, "notify, a room of 9,000", room, 10, map[string]any{"room_id": id})
	})
	if err != nil {
		return err
	}
	for _, online := range []bool{false, true} {
		if err := b.with(func(tenant *harness.Tenant) error { return b.notifyOne(tenant, online) }); err != nil {
			return err
		}
	}
	return nil
}

var isNotification = []byte(`{"type":"notification",`)

// notifyAll sends notifications one after another, each when all users have the one before.
func (b *bench) notifyAll(tenant *harness.Tenant, name string, users, times int, targets map[string]any) error {
	sockets, err := dialAllWith(tenant, users, "&ack=auto", member)
	defer func() { closeAll(sockets) }()
	if err != nil {
		return err
	}
	var got atomic.Int64
	for _, s := range sockets {
		s.follow(func(p []byte) {
			if bytes.HasPrefix(p, isNotification) {
				got.Add(1)
			}
		})
	}
	post, err := notifyRequest(tenant, targets)
	if err != nil {
		return err
	}
	conn, err := dialHTTP(tenant.Server())
	if err != nil {
		return err
	}
	defer conn.Close()
	answered, arrived := newLatencies(), newLatencies()
	cpuBefore, err := tenant.Server().CPU()
	if err != nil {
		return err
	}
	for n := range times {
		at, want := time.Now(), int64(n+1)*int64(users)
		if err := conn.notify(post); err != nil {
			return err
		}
		answered.add(0, time.Since(at))
		if err := harness.Until(time.Minute, "everybody has it", func() bool { return got.Load() >= want }); err != nil {
			return fmt.Errorf("%w: %d of %d", err, got.Load(), want)
		}
		arrived.add(0, time.Since(at))
	}
	cpu, err := tenant.Server().CPU()
	b.report.latency(name+", answered", answered.total(), 0, 0)
	b.report.latency(name+", all online have it", arrived.total(), 0, 0)
	b.report.low(name, "CPU", (cpu-cpuBefore).Seconds()*1e6/float64(times*users), "µs/recipient", 0)
	if err == nil {
		err = firstError(sockets)
	}
	return err
}

// notifyRequest is the bytes of a notification to targets.
func notifyRequest(tenant *harness.Tenant, targets map[string]any) ([]byte, error) {
	body, err := json.Marshal(map[string]any{"topic": "load", "payload": harness.Payload("%s", content()), "targets": targets})
	if err != nil {
		return nil, err
	}
	head := "POST /notify HTTP/1.1\r\nHost: load\r\nX-API-Key: " + tenant.Key + "\r\nContent-Type: application/json\r\n"
	return fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body), nil
}

// notify makes a notification.
func (c *httpConn) notify(request []byte) error {
	status, _, err := c.do(request)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("a notification was answered %d", status)
	}
	return err
}

// notifyOne is a closed loop of 32 that all notify one user, who is away or acknowledges what was written.
func (b *bench) notifyOne(tenant *harness.Tenant, online bool) error {
	const senders, user = 32, "one"
	name := "notify, one user who is away"
	w := newWindow()
	if online {
		name = "notify, one user who is there"
		s, err := dial(tenant, user, 0, "&ack=auto")
		if err != nil {
			return err
		}
		defer closeAll([]*socket{s})
		if err := s.awaitSync(); err != nil {
			return err
		}
		s.follow(func(p []byte) {
			if bytes.HasPrefix(p, isNotification) {
				w.received.add(0)
			}
		})
	}
	post, err := notifyRequest(tenant, map[string]any{"user_ids": []string{user}})
	if err != nil {
		return err
	}
	r, err := b.load(tenant, w, senders, func(i int) error {
		conn, err := dialHTTP(tenant.Server())
		if err != nil {
			return err
		}
		defer conn.Close()
		for !w.stopped.Load() {
			at := time.Now()
			if err := conn.notify(post); err != nil {
				return err
			}
			w.sent.add(i)
			w.record(i, time.Since(at))
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.report.high(name, "answered", r.sent/r.seconds, "per s", 0)
	b.report.low(name, "CPU", r.cpu/r.sent*1000, "s/1k", 0)
	b.report.latency(name, w.took.total(), 0, 0)
	if online {
		b.report.high(name, "delivered", w.drain(1), "%", allOfIt)
	}
	return nil
}
