package presencetest

import (
	"fmt"
	"testing"

	"github.com/chatapi/chatapi/ports"
)

func firstIsAnArrival(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	same(t, "the first", one.arrive(long, alice), alice)
	same(t, "the same node again", one.arrive(long, alice))
	same(t, "another node, with a newcomer", two.arrive(long, alice, bob), bob)
}

func lastIsADeparture(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	one.arrive(long, alice, bob)
	two.arrive(long, alice)
	same(t, "one of two nodes", one.leave(alice, bob), bob)
	same(t, "the last", two.leave(alice), alice)
	same(t, "again", two.leaveUnknown(alice, bob), alice, bob)
	same(t, "afterwards", one.expire())
	same(t, "a new arrival", one.arrive(long, alice), alice)
}

func strangersLeave(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	same(t, "a user never seen", one.leaveUnknown(alice), alice)
	one.arrive(long, alice)
	same(t, "a user of another node, and one never seen", two.leaveUnknown(alice, bob), bob)
	same(t, "who is online still", two.online(alice), alice)
}

func namedTwice(t *testing.T, b Backend) {
	one := newNode(t, b, "one")
	same(t, "arrived", one.arrive(long, alice, bob, alice), alice, bob)
	same(t, "online", one.online(alice, alice), alice)
	same(t, "left", one.leave(bob, alice, alice), alice, bob)
}

func nobody(t *testing.T, b Backend) {
	one := newNode(t, b, "one")
	same(t, "arrived", one.arrive(long))
	same(t, "left", one.leave())
	same(t, "expired", one.expire())
	answer, err := one.port.Online(t.Context(), acme, nil)
	if err != nil || len(answer) != 0 {
		t.Errorf("Online of nobody: %v, %v", answer, err)
	}
}

func manyUsers(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	var users []ports.TenantUser
	for i := range 1000 {
		users = append(users, ports.TenantUser{Tenant: acme, User: userNumber(i)})
	}
	same(t, "arrived", one.arrive(long, users...), users...)
	same(t, "online", two.online(users...), users...)
	same(t, "left", one.leave(users[:600]...), users[:600]...)
	one.arrive(short, users[600:]...)
	b.Pass(2 * short)
	same(t, "expired", two.expire(), users[600:]...)
}

func online(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	same(t, "nobody yet", one.online(alice, bob))
	one.arrive(long, alice)
	two.arrive(long, bob)
	for _, n := range []node{one, two} {
		same(t, "on either node", n.online(alice, bob, carol), alice, bob)
		same(t, "only those asked for", n.online(bob, carol), bob)
	}
	one.leave(alice)
	same(t, "after a leave", two.online(alice, bob), bob)
}

func tenantWall(t *testing.T, b Backend) {
	one := newNode(t, b, "one")
	other := ports.TenantUser{Tenant: "tenant_other", User: alice.User}
	same(t, "the first tenant's", one.arrive(long, alice), alice)
	same(t, "not the second's", one.online(other))
	same(t, "the second's", one.arrive(long, other), other)
	same(t, "the first leaves", one.leave(alice), alice)
	same(t, "the second stays", one.online(other), other)
	same(t, "the first is gone", one.online(alice))
	one.arrive(short, alice)
	b.Pass(2 * short)
	same(t, "the first's lease passes", one.expire(), alice)
	same(t, "the second's does not", one.online(other), other)
}

// names has ids that could be taken for one another where ids are joined to keys, and none may be cut or changed.
func names(t *testing.T, b Backend) {
	users := []ports.TenantUser{
		{Tenant: "a", User: "b:c"}, {Tenant: "a:b", User: "c"}, {Tenant: "a", User: "b"}, {Tenant: "a", User: "B"},
		{Tenant: "a", User: "b "}, {Tenant: "a", User: "größer 🙂"}, {Tenant: "a", User: "{b}"}, {Tenant: "a", User: "*"},
		{Tenant: "a", User: `b"\|`}, {Tenant: "a b", User: "c"}, {Tenant: "a", User: "b c"},
	}
	one, two := newNode(t, b, "a:b"), newNode(t, b, "a")
	for i, u := range users {
		same(t, "not yet", one.online(u))
		same(t, "arrived", one.arrive(long, u), u)
		same(t, "on another node", two.arrive(long, u))
		same(t, fmt.Sprintf("online after %d", i), one.online(u), u)
	}
	same(t, "on one of the nodes", one.leave(users...))
	for _, u := range users {
		same(t, "left", two.leave(u), u)
	}
}

func leasePasses(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	one.arrive(short, alice)
	one.arrive(long, bob)
	b.Pass(2 * short)
	same(t, "offline before anybody was told", two.online(alice, bob), bob)
	same(t, "told", two.expire(), alice)
	same(t, "told again", one.expire())
	same(t, "left once more", one.leaveUnknown(alice), alice)
	same(t, "a new arrival", one.arrive(long, alice), alice)
}

func leasePassesBesideAnother(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	one.arrive(short, alice)
	two.arrive(long, alice)
	b.Pass(2 * short)
	same(t, "expired", one.expire())
	same(t, "online", one.online(alice), alice)
	same(t, "the node whose lease has passed", one.leave(alice))
	same(t, "the other node", two.leave(alice), alice)
	same(t, "expired at last", one.expire())
}

func leaveAfterPassed(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	one.arrive(short, alice, bob)
	two.arrive(long, alice)
	b.Pass(2 * short)
	same(t, "the live one", two.leave(alice), alice)
	same(t, "the one that has passed", one.leave(bob), bob)
	same(t, "nothing is left to expire", two.expire())
	same(t, "a new arrival", one.arrive(long, alice), alice)
}

func renewalProlongs(t *testing.T, b Backend) {
	one := newNode(t, b, "one")
	one.arrive(short, alice)
	one.arrive(long, alice)
	b.Pass(2 * short)
	same(t, "online", one.online(alice), alice)
	same(t, "expired", one.expire())
}

func renewalShortens(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	one.arrive(long, alice, bob)
	same(t, "shortened", one.arrive(short, alice))
	b.Pass(2 * short)
	same(t, "online", two.online(alice, bob), bob)
	same(t, "expired", two.expire(), alice)
}

// renewalInTime: who was told of the arrival and was not told of a departure must not be told of an arrival again.
func renewalInTime(t *testing.T, b Backend) {
	one, two := newNode(t, b, "one"), newNode(t, b, "two")
	one.arrive(short, alice, bob)
	b.Pass(2 * short)
	same(t, "on the same node", one.arrive(long, alice))
	same(t, "on another", two.arrive(long, bob))
	same(t, "online", one.online(alice, bob), alice, bob)
	same(t, "expired", two.expire())
	same(t, "the second node's leave", two.leave(alice, bob), bob)
	same(t, "the first node's leave", one.leave(alice, bob), alice)
}

func deadNode(t *testing.T, b Backend) {
	dead, alive := newNode(t, b, "dead"), newNode(t, b, "alive")
	dead.arrive(short, alice, bob, carol)
	alive.arrive(long, bob)
	b.Pass(2 * short)
	alive.arrive(long, bob)
	same(t, "expired", alive.expire(), alice, carol)
	same(t, "online", alive.online(alice, bob, carol), bob)
}
