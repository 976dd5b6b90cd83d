package presencetest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// The tenant of cases that need only one, and its users.
const acme domain.TenantID = "tenant_acme"

var (
	alice = ports.TenantUser{Tenant: acme, User: "alice"}
	bob   = ports.TenantUser{Tenant: acme, User: "bob"}
	carol = ports.TenantUser{Tenant: acme, User: "carol"}
)

// node is one node's presence under a name. Its methods return users in order, and none as nil.
type node struct {
	t    *testing.T
	port ports.Presence
	name string
}

func newNode(t *testing.T, b Backend, name string) node {
	t.Helper()
	return node{t, b.Node(t), name}
}

func (n node) arrive(lease time.Duration, users ...ports.TenantUser) []ports.TenantUser {
	n.t.Helper()
	arrived, err := n.port.Arrive(n.t.Context(), n.name, users, lease)
	return n.check("Arrive", arrived, err)
}

func (n node) leave(users ...ports.TenantUser) []ports.TenantUser {
	n.t.Helper()
	left, _ := n.leaveAll(users)
	return left
}

// leaveUnknown fails when any of the users has left, and returns those that the port knew nothing of.
func (n node) leaveUnknown(users ...ports.TenantUser) []ports.TenantUser {
	n.t.Helper()
	left, unknown := n.leaveAll(users)
	same(n.t, "left", left)
	return unknown
}

func (n node) leaveAll(users []ports.TenantUser) (left, unknown []ports.TenantUser) {
	n.t.Helper()
	left, unknown, err := n.port.Leave(n.t.Context(), n.name, users)
	return n.check("Leave", left, err), n.check("Leave", unknown, err)
}

func (n node) expire() []ports.TenantUser {
	n.t.Helper()
	left, err := n.port.Expire(n.t.Context())
	return n.check("Expire", left, err)
}

// online are those of users who are online; users are of one tenant.
func (n node) online(users ...ports.TenantUser) []ports.TenantUser {
	n.t.Helper()
	ids := make([]domain.UserID, len(users))
	for i, u := range users {
		ids[i] = u.User
	}
	answer, err := n.port.Online(n.t.Context(), users[0].Tenant, ids)
	var there []ports.TenantUser
	for id, isOnline := range answer {
		if isOnline {
			there = append(there, ports.TenantUser{Tenant: users[0].Tenant, User: id})
		}
	}
	return n.check("Online", there, err)
}

func (n node) check(call string, users []ports.TenantUser, err error) []ports.TenantUser {
	n.t.Helper()
	if err != nil {
		n.t.Errorf("%s on node %s: %v", call, n.name, err)
	}
	return sorted(users)
}

func sorted(users []ports.TenantUser) []ports.TenantUser {
	users = slices.Clone(users)
	slices.SortFunc(users, func(a, b ports.TenantUser) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.User, b.User))
	})
	return users
}

// same fails unless got are exactly the users wanted.
func same(t *testing.T, what string, got []ports.TenantUser, want ...ports.TenantUser) {
	t.Helper()
	if want = sorted(want); !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
