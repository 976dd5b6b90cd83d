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
	return b.with(func(tenant *harness.Tenant) error {
		room, err := longRoom(tenant)
		if err != nil {
			return err
		}
		w, r, err := b.readPages(tenant, room)
		if err != nil {
			return err
		}
		b.report.high("W4, room of 100k", "pages", r.sent/r.seconds, "per s", 11_000)
		b.report.low("W4, room of 100k", "CPU", r.cpu/r.sent*1000, "s/1k pages", 0.10)
		b.report.latency("W4, room of 100k", w.took.total(), 0, 7)
		return nil
	})
}

// longHistory is how many messages a long room has.
const longHistory = 100_000

// longRoom makes a room with a long history, whose member is reader.
func longRoom(tenant *harness.Tenant) (string, error) {
	room, err := tenant.Backend().CreateRoom("group", "reader")
	if err != nil {
		return "", err
	}
	return room.RoomID, fillRoom(tenant, room.RoomID, "reader", longHistory)
}

// readPages measures the readers.
func (b *bench) readPages(tenant *harness.Tenant, room string) (*window, result, error) {
	const readers, page = 16, 50
	w := newWindow()
	r, err := b.load(tenant, w, readers, func(i int) error {
		return b.pull(tenant, w, i, page*contentSize, func() []byte {
			path := fmt.Sprintf("/rooms/%s/messages?after_seq=%d&limit=%d", room, rand.IntN(longHistory-page), page)
			return request(tenant, "reader", "GET", path, "")
		})
	})
	return w, r, err
}

// pull makes requests in a closed loop until the window stops; an answer has at least so many bytes.
func (b *bench) pull(tenant *harness.Tenant, w *window, who, atLeast int, next func() []byte) error {
	conn, err := dialHTTP(tenant.Server())
	if err != nil {
		return err
	}
	defer conn.Close()
	for !w.stopped.Load() {
		req, at := next(), time.Now()
		status, size, err := conn.do(req)
		if err != nil || status != 200 || size < atLeast {
			return errors.Join(err, fmt.Errorf("%.60q was answered %d with %d bytes", req, status, size))
		}
		w.sent.add(who)
		w.record(who, time.Since(at))
	}
	return nil
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
