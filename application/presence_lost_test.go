package application

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// deafPresence does what it is asked, and its answer is lost while it is told so.
type deafPresence struct {
	ports.Presence
	deaf atomic.Bool
}

func (d *deafPresence) Arrive(ctx context.Context, node string, users []ports.TenantUser, lease time.Duration) ([]ports.TenantUser, error) {
	arrived, err := d.Presence.Arrive(ctx, node, users, lease)
	if d.deaf.Load() {
		return nil, errors.New("no answer")
	}
	return arrived, err
}

func (d *deafPresence) Leave(ctx context.Context, node string, users []ports.TenantUser) (left, unknown []ports.TenantUser, err error) {
	left, unknown, err = d.Presence.Leave(ctx, node, users)
	if d.deaf.Load() {
		return nil, nil, errors.New("no answer")
	}
	return left, unknown, err
}

func TestWhoGoesWhenThePortHasForgottenIsOffline(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		s.a.came(ann)
		time.Sleep(11 * time.Second)
		s.a.went(ann)
		time.Sleep(2 * time.Second)
		s.port.turn(forget) // between two renewals
		time.Sleep(20 * time.Second)
	})
	s.want(t, tale{0, "ann online0"}, tale{16 * time.Second, "ann offline0"})
}

func TestAComingAndAGoingOfWhichThePortsAnswerWasLostAreTold(t *testing.T) {
	t.Parallel()
	s := stagePresence(t, func(s *stages) {
		port := &deafPresence{}
		s.port.turn(func(p ports.Presence) ports.Presence { port.Presence = p; return port })
		port.deaf.Store(true)
		s.a.came(ann)
		time.Sleep(3 * time.Second)
		port.deaf.Store(false)
		time.Sleep(7*time.Second + 100*time.Millisecond)
		s.a.went(ann)
		time.Sleep(4800 * time.Millisecond)
		port.deaf.Store(true)
		time.Sleep(2 * time.Second)
		port.deaf.Store(false)
		time.Sleep(20 * time.Second)
	})
	s.want(t, tale{3 * time.Second, "ann online0"}, tale{16900 * time.Millisecond, "ann offline0"})
}
