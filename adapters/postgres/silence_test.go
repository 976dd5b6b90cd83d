package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/postgres"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
	"github.com/chatapi/chatapi/test/harness"
)

// behindProxy is a DSN that leads through a proxy.
func behindProxy(tb testing.TB, dsn string) (*harness.Proxy, string) {
	tb.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	proxy, err := harness.NewProxy(u.Host)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { harness.Check(tb, proxy.Close()) })
	u.Host = proxy.Address()
	return proxy, u.String()
}

// TestServerThatFallsSilentIsUnavailableInAboutTenSeconds has a network swallow every packet before and in the middle of
// all kinds of work.
func TestServerThatFallsSilentIsUnavailableInAboutTenSeconds(t *testing.T) {
	t.Parallel()
	proxy, dsn := behindProxy(t, newDatabase(t))
	s := withTenant(t, postgres.Config{DSN: dsn})
	room := makeRoom(t, s, tenant, "ann")
	idle := makeRoom(t, s, tenant, "ann")
	mustAppend(t, s, tenant, room.ID, "before")
	silent := make(chan struct{})
	var begun, all sync.WaitGroup
	begun.Add(2)
	for what, work := range map[string]func() error{
		"a send": func() error {
			<-silent
			_, err := appendTo(t, s, tenant, room.ID, newSend("ann", "lost"))
			return err
		},
		"a unit of work that has begun": func() error {
			return s.Update(context.Background(), tenant, func(tx ports.Tx) error {
				begun.Done()
				<-silent
				_, err := tx.AddMember(room.ID, "bob", domain.RoleMember, now)
				return err
			})
		},
		"a view that has begun": func() error {
			return s.View(context.Background(), tenant, func(r ports.Reader) error {
				begun.Done()
				<-silent
				_, err := r.Members(room.ID, 0, 10)
				return err
			})
		},
		"a unit of work": func() error {
			<-silent
			return s.Update(context.Background(), tenant, func(ports.Tx) error { return nil })
		},
		"a look across tenants": func() error {
			<-silent
			_, err := s.Tenants(context.Background(), 0, 10)
			return err
		},
		"a probe": func() error {
			<-silent
			return s.Probe(context.Background())
		},
	} {
		all.Go(func() {
			err := work()
			if !errors.Is(err, domain.ErrUnavailable) {
				t.Errorf("%s: %v, want %v", what, err, domain.ErrUnavailable)
			}
		})
	}
	begun.Wait()
	proxy.Silence()
	started := time.Now()
	close(silent)
	all.Wait()
	if took := time.Since(started); took > 12*time.Second {
		t.Errorf("all was answered after %v", took)
	}
	started = time.Now()
	if _, err := appendTo(t, s, tenant, idle.ID, newSend("ann", "later")); !errors.Is(err, domain.ErrUnavailable) {
		t.Errorf("a later send: %v, want %v", err, domain.ErrUnavailable)
	}
	if took := time.Since(started); took > 12*time.Second {
		t.Errorf("a later send was answered after %v", took)
	}
	proxy.Restore()
	harness.Eventually(t, 30*time.Second, "a send is stored again", func() bool {
		_, err := appendTo(t, s, tenant, idle.ID, newSend("ann", "again"))
		return err == nil
	})
}
