package application

import (
	"sync"

	"github.com/chatapi/chatapi/domain"
)

// noticed is up to which place this node has heard of each tenant's notifications, as long as it has sockets of that
// tenant. A place that is passed over was lost on the way.
type noticed struct {
	mu      sync.Mutex
	tenants map[domain.TenantID]*hearing
}

// hearing is how it stands with one tenant.
type hearing struct {
	place int64 // everything up to it was heard
	store int64 // the highest place that was in the store at the last sweep
}

// begin notes where hearing begins, for the first of a tenant's sockets: it has been sent what was before.
func (n *noticed) begin(tenant domain.TenantID, place int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tenants[tenant] == nil {
		n.tenants[tenant] = &hearing{place: place, store: place}
	}
}

// heard notes a place and reports whether one before it is missing.
func (n *noticed) heard(tenant domain.TenantID, place int64) (missing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.tenants[tenant]
	if h == nil {
		return false // nobody is here, or nobody has been sent anything yet
	}
	missing = place > h.place+1
	h.place = max(h.place, place)
	return missing
}

// swept notes what the store has, and reports whether it had it at the last sweep already and still nobody heard of it.
func (n *noticed) swept(tenant domain.TenantID, store int64) (missing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.tenants[tenant]
	if h == nil {
		return false
	}
	missing = h.store > h.place
	h.store = max(h.store, store)
	return missing
}

// looked notes that all sockets of a tenant look into the store, which has had this place for a while. Not before they do:
// one that is given a later place would pass over what is missing.
func (n *noticed) looked(tenant domain.TenantID, store int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.tenants[tenant]; h != nil {
		h.place = max(h.place, store)
	}
}

// all are the tenants that are heard of; those without a socket are forgotten first.
func (n *noticed) all(present func() map[domain.TenantID]struct{}) (tenants []domain.TenantID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	here := present()
	for tenant := range n.tenants {
		if _, ok := here[tenant]; !ok {
			delete(n.tenants, tenant)
			continue
		}
		tenants = append(tenants, tenant)
	}
	return tenants
}
