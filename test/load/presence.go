package main

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// presence connects 2,000 users at once: in rooms of 100, where everybody is told of everybody, and for comparison in
// rooms of 101, where nobody is.
func (b *bench) presence() error {
	const users = 2000
	var perConnect [2]float64
	for i, size := range []int{101, 100} {
		err := b.with(func(tenant *harness.Tenant) error {
			var err error
			perConnect[i], err = b.gather(tenant, users/size*size, size)
			return err
		})
		if err != nil {
			return err
		}
	}
	b.report.low("presence", "CPU a connect, rooms of 100 to rooms of 101", perConnect[1]/perConnect[0], "times", 0)
	return nil
}

// gather connects the users of rooms of a size and returns the CPU seconds that each took.
func (b *bench) gather(tenant *harness.Tenant, users, size int) (float64, error) {
	if err := roomsOf(tenant, users, size); err != nil {
		return 0, err
	}
	cpuBefore, err := tenant.Server().CPU()
	if err != nil {
		return 0, err
	}
	began, told := time.Now(), &counter{}
	sockets, err := dialCounting(tenant, users, told)
	defer func() { closeAll(sockets) }()
	if err != nil {
		return 0, err
	}
	connected := time.Since(began)
	settle(told)
	cpu, err := tenant.Server().CPU()
	if err := errors.Join(err, firstError(sockets)); err != nil {
		return 0, err
	}
	name := fmt.Sprintf("presence, %d connect, rooms of %d", users, size)
	each := (cpu - cpuBefore).Seconds() / float64(users)
	b.report.low(name, "all connected", connected.Seconds(), "s", 0)
	b.report.low(name, "told", float64(told.sum())/float64(users), "frames a connect", 0)
	b.report.low(name, "CPU", each*1000, "s/1k connects", 0)
	return each, nil
}

// dialCounting opens n sockets, some at a time, and counts what they are told of presence from their first frame on.
func dialCounting(tenant *harness.Tenant, n int, told *counter) ([]*socket, error) {
	const atOnce = 64
	all, errs := make([]*socket, n), make([]error, n)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if all[i], errs[i] = dial(tenant, member(i), i, ""); errs[i] != nil {
				return
			}
			synced := make(chan struct{})
			all[i].follow(func(p []byte) {
				switch {
				case bytes.HasPrefix(p, isPresence):
					told.add(i)
				case bytes.HasPrefix(p, isSyncComplete):
					close(synced)
				}
			})
			select {
			case <-synced:
			case <-all[i].done:
				errs[i] = errors.Join(errors.New("a socket ended before its replay"), all[i].err)
			}
		})
	}
	wg.Wait()
	return all, some(errs)
}

// roomsOf puts users, by number, into rooms of a size.
func roomsOf(tenant *harness.Tenant, users, size int) error {
	for from := 0; from < users; from += size {
		ids := make([]string, size)
		for i := range ids {
			ids[i] = member(from + i)
		}
		room, err := tenant.Backend().CreateRoom("group", ids[0])
		if err != nil {
			return err
		}
		if err := tenant.Backend().AddMembers(room.RoomID, ids...); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until nothing has been counted for two seconds, ten at most.
func settle(c *counter) {
	const steps, quiet = 50, 10
	still, last := 0, int64(-1)
	for n := 0; n < steps && still < quiet; n++ {
		<-time.After(200 * time.Millisecond)
		if now := c.sum(); now != last {
			still, last = 0, now
		} else {
			still++
		}
	}
}
