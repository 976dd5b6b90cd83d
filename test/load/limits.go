package main

import (
	"fmt"

	"github.com/chatapi/chatapi/test/harness"
)

// limits is what a rate limit costs that nobody meets: sends over sockets and pages over REST, each without and with one,
// turn about, and the ratio of the CPU each takes.
func (b *bench) limits() error {
	const unmet, turns = 1_000_000, 2
	var send, page [2]cost
	for range turns {
		for i, rate := range []int{0, unmet} {
			err := b.withLimit(rate, func(tenant *harness.Tenant) error {
				return b.sendOverSockets(tenant, 64, func(_ *window, r result) { send[i].add(r) })
			})
			if err != nil {
				return err
			}
			err = b.withLimit(rate, func(tenant *harness.Tenant) error {
				room, err := longRoom(tenant)
				if err != nil {
					return err
				}
				_, r, err := b.readPages(tenant, room)
				page[i].add(r)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	b.reportCost("limits, W1 with 64 senders", send)
	b.reportCost("limits, W4", page)
	return nil
}

// cost is what several windows saw together.
type cost struct{ done, cpu, seconds float64 }

func (c *cost) add(r result) {
	c.done += r.sent
	c.cpu += r.cpu
	c.seconds += r.seconds
}

func (b *bench) reportCost(name string, costs [2]cost) {
	for i, what := range []string{"without a limit", "with one"} {
		b.report.high(name, what, costs[i].done/costs[i].seconds, "per s", 0)
		b.report.low(name, "CPU "+what, costs[i].cpu/costs[i].done*1000, "s/1k", 0)
	}
	ratio := costs[1].cpu / costs[1].done / (costs[0].cpu / costs[0].done)
	b.report.low(name, fmt.Sprintf("CPU with to without, %d windows each", 2), ratio, "times", 0)
}
