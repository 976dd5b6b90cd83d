package application_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func (p *post) leave(users ...string) {
	for _, u := range users {
		_, _, _ = p.presence.Leave(context.Background(), "n", []ports.TenantUser{{Tenant: p.tenant, User: domain.UserID(u)}})
	}
}

// TestNoCallNamesMoreThanAHundred, also when those it had passed over, because they were online, have gone before its
// second attempt.
func TestNoCallNamesMoreThanAHundred(t *testing.T) {
	t.Parallel()
	inPost(t, func(n int, _ ports.Attempt) ports.Outcome {
		if n == 1 {
			return broken
		}
		return accepted
	}, func(p *post) {
		var online, absent []string
		for i := range 420 {
			online = append(online, fmt.Sprintf("on%03d", i))
		}
		for i := range 30 {
			absent = append(absent, fmt.Sprintf("zz%03d", i))
		}
		room := p.group("ann")
		for part := range slices.Chunk(append(slices.Clone(online), absent...), 100) {
			if _, err := p.rooms.AddMembers(context.Background(), p.as("ann"), room, application.NewMembers{UserIDs: part}, nil); err != nil {
				t.Fatal(err)
			}
		}
		p.arrive(online...)
		p.send("ann", room)
		time.Sleep(20 * time.Second)
		if n := len(p.got()); n != 1 {
			t.Errorf("%d calls before the second attempt", n)
			return
		}
		p.leave(online...)
		time.Sleep(5 * time.Minute)
		named := map[domain.UserID]string{}
		for _, call := range p.got() {
			if len(call.recipients) > domain.MaxWebhookRecipients {
				t.Errorf("%s at %v names %d", call.id, call.at, len(call.recipients))
			}
			for _, u := range call.recipients {
				if was, ok := named[u]; ok && was != call.id {
					t.Errorf("%s is named by %s and %s", u, was, call.id)
				}
				named[u] = call.id
			}
		}
		for _, u := range absent {
			if named[domain.UserID(u)] == "" {
				t.Errorf("%s is not named", u)
			}
		}
		if dead := p.dead(); len(p.got()) != 2 || len(dead) != 0 || p.waiting(domain.LaneWebhook) != 0 {
			t.Errorf("%d calls, dead %+v, %d wait", len(p.got()), dead, p.waiting(domain.LaneWebhook))
		}
	})
}

// TestASecretThatCannotBeOpenedIsReplaced, and the new one signs alone.
func TestASecretThatCannotBeOpenedIsReplaced(t *testing.T) {
	t.Parallel()
	var signed [][]string // of each call; guarded by the receiver's mu
	inPost(t, func(_ int, a ports.Attempt) ports.Outcome {
		var with []string
		for _, secret := range a.Secrets {
			with = append(with, secret.Reveal())
		}
		signed = append(signed, with)
		return accepted
	}, func(p *post) {
		room := p.group("ann", "bob")
		foreign := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // sealed with a key that is lost
		_, err := p.store.UpdateTenant(context.Background(), p.tenant, func(stored domain.Tenant) (domain.Tenant, error) {
			stored.Config.WebhookSecret = &foreign
			return stored, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		p.identity.Forget(p.tenant)
		p.send("ann", room)
		time.Sleep(time.Minute)
		if n := len(p.got()); n != 0 || len(p.dead()) != 1 {
			t.Errorf("%d calls without a signature, %d dead", n, len(p.dead()))
			return
		}
		for _, secret := range []string{"brand-new", "newer"} {
			if _, err := p.tenancy.Update(context.Background(), p.tenant, nil, []byte(`{"webhook_secret":"`+secret+`"}`)); err != nil {
				t.Fatal(err)
			}
			p.send("ann", room)
			time.Sleep(time.Minute)
		}
		want := [][]string{{"brand-new"}, {"newer", "brand-new"}}
		dead := p.dead()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !slices.EqualFunc(signed, want, slices.Equal) || len(dead) != 1 {
			t.Errorf("signed with %q, want %q; %d dead", signed, want, len(dead))
		}
	})
}

// TestTheEndpointOfASubscriptionIsTheBackendsToKnow and its subscription the backend's to end.
func TestTheEndpointOfASubscriptionIsTheBackendsToKnow(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		const endpoint = "https://example.com/hook?key=s3cret"
		called, over := p.subscribe("ann", endpoint), p.subscribe("ann", "")
		ann, user := p.as("ann"), domain.UserID("ann")
		for _, of := range []*domain.UserID{nil, &user} {
			found, _, err := p.topics.List(context.Background(), ann, of, 0, 10)
			if err != nil || slices.ContainsFunc(found, func(s domain.Subscription) bool { return s.Endpoint != "" }) {
				t.Errorf("ann sees %+v, %v", found, err)
			}
		}
		if err := p.topics.Remove(context.Background(), ann, called.ID); !errors.Is(err, domain.ErrForbidden) {
			t.Errorf("ann ends the backend's: %v", err)
		}
		if err := p.topics.Remove(context.Background(), ann, over.ID); err != nil {
			t.Errorf("ann ends her own: %v", err)
		}
		found, _, err := p.topics.List(context.Background(), p.backend(), &user, 0, 10)
		if err != nil || len(found) != 1 || found[0].ID != called.ID || found[0].Endpoint != endpoint {
			t.Errorf("the backend sees %+v, %v", found, err)
		}
		if err := p.topics.Remove(context.Background(), p.backend(), called.ID); err != nil {
			t.Errorf("the backend ends it: %v", err)
		}
	})
}

// TestAnEndpointThatIsGoneLeavesItsLetterFirst: a process that ends before or after it unsubscribes has lost nothing.
func TestAnEndpointThatIsGoneLeavesItsLetterFirst(t *testing.T) {
	t.Parallel()
	s := &seam{}
	inPostOver(t, s.over, func(int, ports.Attempt) ports.Outcome {
		return ports.Outcome{Result: ports.Gone, Status: 410, Cause: ports.StatusCause(410)}
	}, func(p *post) {
		p.subscribe("ann", "https://example.com/ann")
		p.publish()
		time.Sleep(time.Minute)
		writes := slices.DeleteFunc(s.written(), func(w written) bool { return w.removed == 0 })
		if len(writes) != 1 || writes[0].lettersAtRemoval != 1 {
			t.Errorf("unsubscribed by %+v", writes)
		}
	})
}

// TestAFastReceiverIsNotKeptWaiting by the pace of the looks into the outbox.
func TestAFastReceiverIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	inPost(t, func(int, ports.Attempt) ports.Outcome { return accepted }, func(p *post) {
		time.Sleep(time.Minute)
		room := p.group("ann", "bob")
		const n = 200
		begun := time.Since(p.begun)
		for range n {
			p.send("ann", room)
		}
		time.Sleep(time.Minute)
		got := p.got()
		if len(got) != n {
			t.Errorf("%d calls", len(got))
			return
		}
		due := domain.OfflineJob(domain.Message{}).Due.Sub(time.Time{})
		first, last := got[0].at-begun, got[n-1].at-begun
		if first < due || last > due+2*time.Second {
			t.Errorf("due after %v, called from %v to %v", due, first, last)
		}
	})
}
