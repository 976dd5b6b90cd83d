package application_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// notifyMany gives a user many notifications, with few commits.
func (h *hall) notifyMany(user domain.UserID, n int) (ids []domain.NotificationID) {
	for i := range n {
		var id domain.NotificationID
		binary.BigEndian.PutUint64(id[:], uint64(i+1))
		ids = append(ids, id)
	}
	for at := 0; at < n; at += 500 {
		err := h.store.Update(context.Background(), h.tenant, func(tx ports.Tx) error {
			for i := at; i < min(at+500, n); i++ {
				made := domain.Notification{ID: ids[i], Topic: "news", Payload: fmt.Appendf(nil, `{"n":%d}`, i), CreatedAt: time.Now()}
				if err := tx.AddNotification(made, domain.Targets{Users: []domain.UserID{user}}); err != nil {
					return err
				}
				if _, err := tx.Expand(made.ID, 1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return ids
}

func (c *client) taken() []arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// largest is the most that one write has settled, and sum what all have.
func largest(writes []written) (most, sum int) {
	for _, w := range writes {
		n := w.marks + w.notices
		most, sum = max(most, n+w.devices), sum+n
	}
	return most, sum
}

const inOneWrite = 200

// TestAFloodOfWhatWasWrittenIsSettledInSmallWrites: no device keeps the store from the others for long.
func TestAFloodOfWhatWasWrittenIsSettledInSmallWrites(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		const n = 2000
		h.notifyMany("ann", n)
		before := len(s.written())
		ann := h.connectAs(&client{h: h, user: "ann", device: "desk", auto: true})
		time.Sleep(time.Minute)
		most, sum := largest(s.written()[before:])
		if len(ann.texts()) != n+1 || sum != n || most > inOneWrite {
			t.Errorf("%d frames arrived, %d were settled, at most %d in one write", len(ann.texts()), sum, most)
		}
		if got := h.connect("ann", "desk").texts(); !slices.Equal(got, []string{"synced"}) {
			t.Errorf("%d frames are left", len(got))
		}
	})
}

// TestAConnectSettlesInSmallWritesToo what its device has acknowledged a moment ago.
func TestAConnectSettlesInSmallWritesToo(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		const n = 1000
		h.notifyMany("ann", n)
		ann := h.connect("ann", "desk")
		time.Sleep(100 * time.Millisecond) // between two flushes
		before := len(s.written())
		for _, f := range ann.taken() {
			ann.peer.Wrote(f.Frame)
		}
		if got := h.connect("ann", "desk").texts(); !slices.Equal(got, []string{"synced"}) {
			t.Errorf("%d frames came again", len(got))
		}
		if most, sum := largest(s.written()[before:]); sum != n || most > inOneWrite {
			t.Errorf("%d were settled, at most %d in one write", sum, most)
		}
	})
}

// TestManyDevicesShareWrites, of their marks no more than one of them would fill.
func TestManyDevicesShareWrites(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inHallOver(t, s.over, func(h *hall) {
		const rooms, users = 6, 90
		var names []string
		for i := range users {
			names = append(names, fmt.Sprint("u", i))
		}
		var ids []domain.RoomID
		for range rooms {
			ids = append(ids, h.group("bob", names...))
			h.send("bob", ids[len(ids)-1])
		}
		before := len(s.written())
		for _, name := range names {
			c := &client{h: h, user: name, device: "desk"}
			for _, room := range ids {
				c.ack(room, 1)
			}
		}
		time.Sleep(time.Second)
		writes := s.written()[before:]
		if most, sum := largest(writes); sum != rooms*users || most > inOneWrite || len(writes) > 10 {
			t.Errorf("%d were settled in %d writes, at most %d in one", sum, len(writes), most)
		}
	})
}
