package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// redelivery is what watching over acknowledgements costs: 1,000 rooms of 5 at 2,000 messages a second, with clients that
// acknowledge every message, each room once a second, or none, and with sockets that acknowledge for them. Where nobody
// acknowledges, it runs once so that nothing is sent again within the window, and once so that as much as can be is.
func (b *bench) redelivery() error {
	if b.maxConn < roomCount*roomMembers {
		return fmt.Errorf("5,000 sockets need more open files than the limit allows (%d)", b.maxConn)
	}
	never, soon := map[string]string{"RETRY_INTERVAL": "1h"}, map[string]string{"RETRY_INTERVAL": "1s"}
	var base float64
	for _, c := range []struct {
		name  string
		env   map[string]string
		query string
		every time.Duration // between two acknowledgements of a room; 0 = of every message, below 0 = none
	}{
		{"every message acked", never, "", 0},
		{"acked once a second", never, "", time.Second},
		{"ack=auto", never, "&ack=auto", -1},
		{"never acked, nothing sent again", never, "", -1},
		{"never acked, sent again after 1 s, 3 s, 7 s, 15 s", soon, "", -1},
	} {
		err := b.withOptions(harness.Options{Env: c.env}, func(tenant *harness.Tenant) error {
			perMessage, err := b.watched(tenant, "redelivery, "+c.name, c.query, c.every)
			if base == 0 {
				base = perMessage
			}
			b.report.low("redelivery, "+c.name, "CPU to that of every message acked", perMessage/base, "times", 0)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// watched runs the paced rooms with clients that acknowledge as told, and returns the CPU seconds of a message.
func (b *bench) watched(tenant *harness.Tenant, name, query string, every time.Duration) (perMessage float64, err error) {
	rooms, err := smallRooms(tenant, roomCount)
	if err != nil {
		return 0, err
	}
	sockets, err := dialAllWith(tenant, roomCount*roomMembers, query, member)
	defer func() { closeAll(sockets) }()
	if err != nil {
		return 0, err
	}
	var again atomic.Int64
	w, writers := newWindow(), make([]sync.Mutex, len(sockets)) // a room's sender writes beside its acknowledgements
	for i, s := range sockets {
		at, seen := time.Now(), 0
		s.follow(func(p []byte) {
			if !bytes.HasPrefix(p, isMessage) {
				return
			}
			if bytes.Contains(p, isAgain) {
				again.Add(1)
				return
			}
			w.receive(i, p, &seen, 1)
			if every < 0 || every > 0 && time.Since(at) < every {
				return
			}
			at = time.Now()
			writers[i].Lock()
			defer writers[i].Unlock()
			_, _ = s.conn.Write(ackFrame(rooms[i/roomMembers], p))
		})
	}
	const rate, pacers = 2000, 4
	r, err := b.load(tenant, w, pacers, func(p int) error {
		frames, at := make([][]byte, len(rooms)), 0
		for i, room := range rooms {
			frames[i], at = sendFrame(room)
		}
		return paced(rate/pacers, w, func(n int, due time.Time) error {
			room := n*pacers%len(rooms) + p // each pacer has its own rooms, in turn
			stamp(frames[room], at, due)
			w.sent.add(p)
			writers[room*roomMembers].Lock()
			defer writers[room*roomMembers].Unlock()
			_, err := sockets[room*roomMembers].conn.Write(frames[room])
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	b.reportRooms(name, w, r, [3]float64{})
	b.report.low(name, "sent again", float64(again.Load()), "frames", 0)
	rss, err := tenant.Server().RSS()
	b.report.low(name, "memory", float64(rss)/1e6, "MB", 0)
	return r.cpu / r.sent, err
}

var (
	isAgain = []byte(`"redelivered":true`)
	seqKey  = []byte(`"seq":`)
)

// ackFrame acknowledges the message of a frame.
func ackFrame(room string, message []byte) []byte {
	at := bytes.Index(message, seqKey)
	if at < 0 {
		return nil
	}
	digits := message[at+len(seqKey):]
	end := bytes.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	return clientFrame(fmt.Sprintf(`{"type":"ack","room_id":%q,"seq":%s}`, room, digits[:max(end, 0)]))
}

// dialAllWith is dialAll with a query.
func dialAllWith(tenant *harness.Tenant, n int, query string, user func(int) string) ([]*socket, error) {
	const atOnce = 64
	all, errs := make([]*socket, n), make([]error, n)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if all[i], errs[i] = dial(tenant, user(i), i, query); errs[i] == nil {
				errs[i] = all[i].awaitSync()
			}
		})
	}
	wg.Wait()
	return all, some(errs)
}

// offline is what members who are away cost: messages to a room of 9,000 whose members are told of by the tenant's webhook,
// a hundred a call.
func (b *bench) offline() error {
	const members, messages, perCall = 9000, 100, 100
	hook := newCounted()
	defer hook.Close()
	opts := harness.Options{Admin: true, Env: map[string]string{"OUTBOUND_ALLOW": "webhook=127.0.0.1"}}
	return b.withOptions(opts, func(tenant *harness.Tenant) error {
		if err := tenant.Configure(map[string]any{"webhook_url": hook.URL, "webhook_secret": harness.Body("secret")}); err != nil {
			return err
		}
		room, err := largeRoom(tenant, members)
		if err != nil {
			return err
		}
		s := tenant.Server()
		before, err := settled(s)
		if err != nil {
			return err
		}
		cpuBefore, err := s.CPU()
		if err != nil {
			return err
		}
		began, took, peak := time.Now(), newLatencies(), before
		sender, err := dialHTTP(s)
		if err != nil {
			return err
		}
		defer sender.Close()
		left := messages + 1
		post := request(tenant, member(0), "POST", "/rooms/"+room+"/messages", fmt.Sprintf(`{"content":%q}`, content()))
		err = sender.post(post, func() bool { left--; return left == 0 }, func(d time.Duration) { took.add(0, d) })
		if err != nil {
			return err
		}
		rows, err := s.Metric("chatapi_outbox_webhook_jobs")
		if err != nil {
			return err
		}
		sent := time.Now()
		const calls = messages * ((members - 1 + perCall - 1) / perCall)
		err = harness.Until(4*time.Minute, strconv.Itoa(calls)+" calls", func() bool {
			if rss, err := s.RSS(); err == nil {
				peak = max(peak, rss)
			}
			return hook.calls.Load() >= calls
		})
		if err != nil {
			return fmt.Errorf("%w: %d came", err, hook.calls.Load())
		}
		cpu, err := s.CPU()
		const name = "offline, 100 messages to 9,000 away"
		first := time.Duration(hook.first.Load())
		b.report.latency(name+", a send", took.total(), 0, 0)
		b.report.low(name, "rows of the outbox a message", rows/messages, "rows", 1)
		b.report.low(name, "until the first call", (first - began.Sub(hook.made)).Seconds(), "s", 0)
		b.report.high(name, "calls", calls/(time.Since(hook.made)-first).Seconds(), "per s", 0)
		b.report.low(name, "until the last call, after the last send", time.Since(sent).Seconds(), "s", 0)
		b.report.low(name, "CPU", (cpu-cpuBefore).Seconds()/calls*1000, "s/1k calls", 0)
		b.report.low(name, "memory grown by", float64(peak-before)/1e6, "MB", 32) // whatever the number of members
		return err
	})
}

// counted is a receiver of calls that answers 200.
type counted struct {
	*httptest.Server
	made  time.Time
	calls atomic.Int64
	first atomic.Int64 // nanoseconds since made
}

func newCounted() *counted {
	c := &counted{made: time.Now()}
	c.Server = httptest.NewServer(c)
	return c
}

// ServeHTTP implements http.Handler.
func (c *counted) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.first.CompareAndSwap(0, int64(time.Since(c.made)))
	c.calls.Add(1)
}

// largeRoom makes one room of n members.
func largeRoom(tenant *harness.Tenant, n int) (string, error) {
	room, err := tenant.Backend().CreateRoom("group", member(0))
	if err != nil {
		return "", err
	}
	users := make([]string, n)
	for i := range users {
		users[i] = member(i)
	}
	return room.RoomID, tenant.Backend().AddMembers(room.RoomID, users...)
}
