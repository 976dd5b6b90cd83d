package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/chatapi/chatapi/test/harness"
)

// fairRate is the rate limit of both tenants of fair.
const fairRate = 100

// fair has a modest tenant send at half its rate, alone and beside one that calls at fifty times its own: the modest one
// must meet no refusal and should notice nothing.
func (b *bench) fair() error {
	const flood, flooders = 50 * fairRate, 8
	return b.withLimit(fairRate, func(modest *harness.Tenant) error {
		greedy, err := modest.Server().NewTenantWith("greedy", map[string]any{"rate_limit": fairRate})
		if err != nil {
			return err
		}
		room, err := modest.User("calm").CreateRoom("group", "other")
		if err != nil {
			return err
		}
		alone := newWindow()
		if _, err := b.load(modest, alone, 1, func(int) error { return sendCalmly(modest, room.RoomID, alone) }); err != nil {
			return err
		}
		beside := newWindow()
		calls, passed := &counter{}, &counter{}
		r, err := b.load(modest, beside, 1+flooders, func(i int) error {
			if i == 0 {
				return sendCalmly(modest, room.RoomID, beside)
			}
			return callOn(greedy, beside, i, flood/flooders, calls, passed)
		})
		if err != nil {
			return err
		}
		const name = "fair, a tenant at half its rate"
		b.report.latency(name+", alone", alone.took.total(), 0, 0)
		b.report.latency(name+", beside the flood", beside.took.total(), 0, 0)
		b.report.compare(name+", beside the flood to alone", alone.took.total(), beside.took.total())
		b.report.high("fair, the flood", "calls", float64(calls.sum())/(r.seconds+warmUp.Seconds()), "per s", 0)
		b.report.low("fair, the flood", "let through", float64(passed.sum())/(r.seconds+warmUp.Seconds()), "per s", 0)
		b.report.low("fair, the flood", "CPU", r.cpu/r.seconds, "cores", 0)
		return nil
	})
}

// sendCalmly sends at half the rate; a refusal ends it with an error.
func sendCalmly(tenant *harness.Tenant, room string, w *window) error {
	conn, err := dialHTTP(tenant.Server())
	if err != nil {
		return err
	}
	defer conn.Close()
	post := request(tenant, "calm", "POST", "/rooms/"+room+"/messages", fmt.Sprintf(`{"content":%q}`, content()))
	return paced(fairRate/2, w, func(_ int, due time.Time) error { return postOnce(conn, post, w, due) })
}

// postOnce sends a message and counts from when it was due.
func postOnce(conn *httpConn, post []byte, w *window, due time.Time) error {
	status, _, err := conn.do(post)
	if err != nil || status != 201 {
		return errors.Join(err, fmt.Errorf("a send was answered %d", status))
	}
	w.sent.add(0)
	w.record(0, time.Since(due))
	return nil
}

// callOn calls at a rate whatever the answers say.
func callOn(tenant *harness.Tenant, w *window, who int, rate float64, calls, passed *counter) error {
	conn, err := dialHTTP(tenant.Server())
	if err != nil {
		return err
	}
	defer conn.Close()
	get := request(tenant, "greedy", "GET", "/rooms", "")
	return paced(rate, w, func(int, time.Time) error {
		status, _, err := conn.do(get)
		if err != nil || status != 200 && status != 429 {
			return errors.Join(err, fmt.Errorf("a call over the rate was answered %d", status))
		}
		if calls.add(who); status == 200 {
			passed.add(who)
		}
		return nil
	})
}

// compare adds by how much the latencies of one measurement exceed those of another.
func (r *report) compare(workload string, before, during *hdrhistogram.Histogram) {
	for _, q := range []float64{50, 99} {
		base := max(before.ValueAtQuantile(q), 1)
		r.low(workload, fmt.Sprintf("p%.0f", q), float64(during.ValueAtQuantile(q))/float64(base), "times", 0)
	}
}
