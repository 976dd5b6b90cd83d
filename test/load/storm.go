package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// storm is W5: 5,000 clients that were there before come back at once, each having missed 20 messages.
func (b *bench) storm() error {
	const clients, missed = roomCount * roomMembers, 20
	if b.maxConn < clients {
		return fmt.Errorf("5,000 sockets need more open files than the limit allows (%d)", b.maxConn)
	}
	return b.with(func(tenant *harness.Tenant) error {
		rooms, err := smallRooms(tenant, roomCount)
		if err != nil {
			return err
		}
		known, err := dialAll(tenant, clients, member) // the server has seen their devices
		closeAll(known)
		if err != nil {
			return err
		}
		if err := missMessages(tenant, rooms, missed); err != nil {
			return err
		}
		<-time.After(2 * time.Second) // let the goodbyes be over
		return b.comeBack(tenant, clients, missed)
	})
}

// missMessages sends each room its messages while nobody is there.
func missMessages(tenant *harness.Tenant, rooms []string, missed int) error {
	const senders = 32
	errs := make([]error, senders)
	var wg sync.WaitGroup
	body := fmt.Sprintf(`{"content":%q}`, content())
	for i := range senders {
		wg.Go(func() {
			conn, err := dialHTTP(tenant.Server())
			if err != nil {
				errs[i] = err
				return
			}
			defer conn.Close()
			for r := i; r < len(rooms); r += senders {
				left := missed + 1
				post := request(tenant, member(r*roomMembers), "POST", "/rooms/"+rooms[r]+"/messages", body)
				err := conn.post(post, func() bool { left--; return left == 0 }, func(time.Duration) {})
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	wg.Wait()
	return some(errs)
}

func (b *bench) comeBack(tenant *harness.Tenant, clients, missed int) error {
	cpuBefore, err := tenant.Server().CPU()
	if err != nil {
		return err
	}
	errs, back := make([]error, clients), make([]*socket, clients)
	defer func() { closeAll(back) }()
	took, got, refused := newLatencies(), &counter{}, &counter{}
	began := time.Now()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			if back[i], errs[i] = dialUntilAdmitted(tenant, i, refused); errs[i] != nil {
				return
			}
			errs[i] = back[i].read(func(p []byte) bool {
				if bytes.HasPrefix(p, isMessage) {
					got.add(i)
				}
				return !bytes.HasPrefix(p, isSyncComplete)
			})
			took.add(i, time.Since(began))
		})
	}
	wg.Wait()
	all := time.Since(began)
	cpu, err := tenant.Server().CPU()
	if err := errors.Join(err, some(errs)); err != nil {
		return err
	}
	const name = "W5, 5,000 come back"
	b.report.low(name, "all caught up", all.Seconds(), "s", 0.85)
	b.report.low(name, "told to come later", float64(refused.sum()), "times", 0)
	b.report.low(name, "p50", float64(took.total().ValueAtQuantile(50))/1e6, "s", 0)
	b.report.low(name, "CPU", (cpu-cpuBefore).Seconds()/float64(clients)*1000, "s/1k clients", 0.18)
	b.report.high(name, "delivered", 100*float64(got.sum())/float64(clients*missed), "%", allOfIt)
	return nil
}

// dialUntilAdmitted connects as a good client does: sent away with 503 it comes again after Retry-After, and cut off
// before an answer (a generator that starves takes longer than the server waits for a request) after a second.
func dialUntilAdmitted(tenant *harness.Tenant, i int, refused *counter) (*socket, error) {
	const tries = 20
	var err error
	for range tries {
		var s *socket
		if s, err = dial(tenant, member(i), i, ""); err == nil {
			return s, nil
		}
		later := &busy{time.Second}
		if !errors.As(err, &later) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			return nil, err
		}
		refused.add(i)
		<-time.After(later.retryAfter)
	}
	return nil, err
}
