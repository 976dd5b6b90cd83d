package main

import (
	"fmt"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// purge removes a room of 100,000 messages while another tenant sends 200 a second: what nobody waits for must not be
// felt. The window begins with the removal; a purge of 500 rows a step is over within it.
func (b *bench) purge() error {
	return b.with(func(large *harness.Tenant) error {
		other, err := large.Server().NewTenant("other")
		if err != nil {
			return err
		}
		room, err := longRoom(large)
		if err != nil {
			return err
		}
		before := newWindow()
		idle, err := b.load(other, before, 1, func(int) error { return b.sendSteadily(other, before) })
		if err != nil {
			return err
		}
		during := newWindow()
		var took time.Duration
		r, err := b.load(other, during, 2, func(i int) error {
			if i == 0 {
				return b.sendSteadily(other, during)
			}
			for !during.measuring.Load() { // with the window
				<-time.After(time.Millisecond)
			}
			at := time.Now()
			err := large.Backend().RemoveRoom(room)
			took = time.Since(at)
			return err
		})
		if err != nil {
			return err
		}
		const name = "purge of 100k messages"
		b.report.low(name, "the removal itself", float64(took.Microseconds())/1000, "ms", 0)
		b.report.latency(name+", another's sends before", before.took.total(), 0, 0)
		b.report.latency(name+", another's sends during", during.took.total(), 0, 0)
		b.report.compare(name+", during to before", before.took.total(), during.took.total())
		b.report.low(name, "CPU of the window before", idle.cpu, "s", 0)
		b.report.low(name, "CPU of the window", r.cpu, "s", 0)
		return nil
	})
}

// sendSteadily sends 200 messages a second over REST.
func (b *bench) sendSteadily(tenant *harness.Tenant, w *window) error {
	const rate = 200
	room, err := tenant.User("steady").CreateRoom("group", "other")
	if err != nil {
		return err
	}
	conn, err := dialHTTP(tenant.Server())
	if err != nil {
		return err
	}
	defer conn.Close()
	post := request(tenant, "steady", "POST", "/rooms/"+room.RoomID+"/messages", fmt.Sprintf(`{"content":%q}`, content()))
	return paced(rate, w, func(_ int, due time.Time) error { return postOnce(conn, post, w, due) })
}
