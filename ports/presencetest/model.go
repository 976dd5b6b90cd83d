package presencetest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

func userNumber(i int) domain.UserID { return domain.UserID(fmt.Sprintf("user-%d", i)) }

// reference is what every answer must be. A lease that is to pass has passed by the time of the next call.
type reference struct {
	live map[ports.TenantUser]map[string]bool // the nodes with a lease that holds
	told map[ports.TenantUser]bool            // of their arrival, and of no departure since
}

func (r reference) arrive(node string, users []ports.TenantUser, holds bool) (arrived []ports.TenantUser) {
	for _, u := range users {
		if !r.told[u] {
			r.told[u], r.live[u] = true, map[string]bool{}
			arrived = append(arrived, u)
		}
		if delete(r.live[u], node); holds {
			r.live[u][node] = true
		}
	}
	return arrived
}

func (r reference) leave(node string, users []ports.TenantUser) (left, unknown []ports.TenantUser) {
	for _, u := range users {
		if !r.told[u] {
			unknown = append(unknown, u)
			continue
		}
		if delete(r.live[u], node); len(r.live[u]) == 0 {
			delete(r.told, u)
			left = append(left, u)
		}
	}
	return left, unknown
}

func (r reference) expire() (left []ports.TenantUser) {
	for u := range r.told {
		if len(r.live[u]) == 0 {
			delete(r.told, u)
			left = append(left, u)
		}
	}
	return left
}

// model makes random calls on three nodes about a few users of two tenants, whose users have the same names.
func model(t *testing.T, b Backend) {
	var users []ports.TenantUser
	for i := range 8 {
		users = append(users, ports.TenantUser{Tenant: []domain.TenantID{"t1", "t2"}[i/4], User: userNumber(i % 4)})
	}
	nodes := []node{newNode(t, b, "one"), newNode(t, b, "two"), newNode(t, b, "three")}
	want := reference{map[ports.TenantUser]map[string]bool{}, map[ports.TenantUser]bool{}}
	random := rand.New(rand.NewPCG(1, 2))
	for step := range 400 {
		n := nodes[random.IntN(len(nodes))]
		some := pick(random, users)
		switch what := fmt.Sprintf("step %d on node %s", step, n.name); random.IntN(8) {
		case 0, 1, 2:
			same(t, what+", arrived", n.arrive(long, some...), want.arrive(n.name, some, true)...)
		case 3:
			same(t, what+", arrived for a moment", n.arrive(short, some...), want.arrive(n.name, some, false)...)
			b.Pass(2 * short)
		case 4, 5:
			left, unknown := n.leaveAll(some)
			wantLeft, wantUnknown := want.leave(n.name, some)
			same(t, what+", left", left, wantLeft...)
			same(t, what+", unknown", unknown, wantUnknown...)
		case 6:
			same(t, what+", expired", n.expire(), want.expire()...)
		case 7:
			half := users[4*random.IntN(2):][:4]
			same(t, what+", online", n.online(half...), want.online(half)...)
		}
		if t.Failed() {
			return
		}
	}
}

func (r reference) online(users []ports.TenantUser) (there []ports.TenantUser) {
	for _, u := range users {
		if len(r.live[u]) > 0 {
			there = append(there, u)
		}
	}
	return there
}

// pick chooses one to four users, none twice.
func pick(random *rand.Rand, users []ports.TenantUser) []ports.TenantUser {
	var some []ports.TenantUser
	for _, i := range random.Perm(len(users))[:1+random.IntN(4)] {
		some = append(some, users[i])
	}
	return some
}
