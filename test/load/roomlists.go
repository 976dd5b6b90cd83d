package main

import (
	"fmt"

	"github.com/chatapi/chatapi/test/harness"
)

// roomLists is a user with 50 rooms of 1,000 messages, most of them unread, who asks for the list: 16 readers over REST.
func (b *bench) roomLists() error {
	const rooms, messages, read, readers = 50, 1000, 300, 16
	return b.with(func(tenant *harness.Tenant) error {
		for range rooms {
			room, err := tenant.Backend().CreateRoom("group", "writer", "reader")
			if err != nil {
				return err
			}
			if err := fillRoom(tenant, room.RoomID, "writer", messages); err != nil {
				return err
			}
			if err := tenant.User("reader").Read(room.RoomID, read); err != nil {
				return err
			}
		}
		list, err := tenant.User("reader").Rooms("")
		if err != nil {
			return err
		}
		for _, room := range list {
			if room.Unread != messages-read {
				return fmt.Errorf("%d unread in a room, want %d", room.Unread, messages-read)
			}
		}
		w := newWindow()
		get := request(tenant, "reader", "GET", "/rooms?limit=50", "")
		r, err := b.load(tenant, w, readers, func(i int) error {
			return b.pull(tenant, w, i, rooms*contentSize, func() []byte { return get })
		})
		if err != nil {
			return err
		}
		const name = "list of 50 rooms, 35,000 unread"
		b.report.high(name, "lists", r.sent/r.seconds, "per s", 0)
		b.report.low(name, "CPU", r.cpu/r.sent*1000, "s/1k lists", 0)
		b.report.latency(name, w.took.total(), 0, 0)
		return nil
	})
}
