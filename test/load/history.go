package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// history is W4: 16 readers take pages of 50 at random positions of a room of 100,000 messages, over REST.
func (b *bench) history() error {
	const messages, readers, page = 100_000, 16, 50
	return b.with(func(tenant *harness.Tenant) error {
		room, err := tenant.Backend().CreateRoom("group", "reader")
		if err != nil {
			return err
		}
		if err := fillRoom(tenant, room.RoomID, "reader", messages); err != nil {
			return err
		}
		w := newWindow()
		r, err := b.load(tenant, w, readers, func(i int) error {
			conn, err := dialHTTP(tenant.Server())
			if err != nil {
				return err
			}
			defer conn.Close()
			for !w.stopped.Load() {
				path := fmt.Sprintf("/rooms/%s/messages?after_seq=%d&limit=%d", room.RoomID, rand.IntN(messages-page), page)
				at := time.Now()
				status, size, err := conn.do(request(tenant, "reader", "GET", path, ""))
				if err != nil || status != 200 || size < page*contentSize {
					return errors.Join(err, fmt.Errorf("a page was answered %d with %d bytes", status, size))
				}
				w.sent.add(i)
				w.record(i, time.Since(at))
			}
			return nil
		})
		if err != nil {
			return err
		}
		b.report.high("W4, room of 100k", "pages", r.sent/r.seconds, "per s", 11_000)
		b.report.low("W4, room of 100k", "CPU", r.cpu/r.sent*1000, "s/1k pages", 0.10)
		b.report.latency("W4, room of 100k", w.took.total(), 0, 7)
		return nil
	})
}

// fillRoom posts n messages of one user over 64 connections.
func fillRoom(tenant *harness.Tenant, room, user string, n int64) error {
	const senders = 64
	var left atomic.Int64
	left.Store(n)
	errs := make([]error, senders)
	var wg sync.WaitGroup
	post := request(tenant, user, "POST", "/rooms/"+room+"/messages", fmt.Sprintf(`{"content":%q}`, content()))
	for i := range senders {
		wg.Go(func() {
			conn, err := dialHTTP(tenant.Server())
			if err != nil {
				errs[i] = err
				return
			}
			defer conn.Close()
			errs[i] = conn.post(post, func() bool { return left.Add(-1) < 0 }, func(time.Duration) {})
		})
	}
	wg.Wait()
	return some(errs)
}
