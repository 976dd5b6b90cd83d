package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// memory opens idle sockets, each joined to a room of 5, and takes what the server's resident memory grew by.
func (b *bench) memory() error {
	const most = 10_000
	return b.with(func(tenant *harness.Tenant) error {
		if _, err := smallRooms(tenant, min(most, b.maxConn)/roomMembers); err != nil {
			return err
		}
		var all []*socket
		defer func() { closeAll(all) }()
		before, err := settled(tenant.Server())
		if err != nil {
			return err
		}
		for _, n := range []int{1_000, 5_000, most} {
			if n > b.maxConn {
				return fmt.Errorf("%d sockets need more open files than the limit allows (%d)", n, b.maxConn)
			}
			cpuBefore, err := tenant.Server().CPU()
			if err != nil {
				return err
			}
			opened := n - len(all)
			profiled := make(chan error, 1)
			go func() { profiled <- b.profileFor(tenant.Server(), 2*time.Second) }()
			more, err := dialAll(tenant, opened, func(i int) string { return member(len(all) + i) })
			for _, s := range more {
				if s != nil && err == nil {
					s.follow(func([]byte) {})
				}
			}
			all = append(all, more...)
			if err = errors.Join(err, <-profiled); err != nil {
				return err
			}
			cpu, err := tenant.Server().CPU()
			if err != nil {
				return err
			}
			rss, err := settled(tenant.Server())
			if err != nil {
				return err
			}
			b.reportMemory(n, rss, rss-before, (cpu-cpuBefore).Seconds()/float64(opened)*1000)
		}
		return firstError(all)
	})
}

func (b *bench) reportMemory(n int, rss, grown int64, connectCPU float64) {
	const kib, mb = 1024, 1e6
	name := fmt.Sprintf("memory, %d idle sockets", n)
	target, total := 0.0, 0.0
	if n == 10_000 {
		target, total = 12, 150
	}
	b.report.low(name, "per socket", float64(grown)/kib/float64(n), "KiB", target)
	b.report.low(name, "in all", float64(rss)/mb, "MB", total)
	b.report.low(name, "CPU to connect", connectCPU, "s/1k sockets", 0)
}

// settled is the server's resident memory once it has had a moment.
func settled(s *harness.Server) (int64, error) {
	<-time.After(3 * time.Second)
	return s.RSS()
}
