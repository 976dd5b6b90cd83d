package postgres

import (
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/chatapi/chatapi/domain"
)

func findTenant(c *conn, id domain.TenantID) (number int64, err error) {
	found, err := c.first("SELECT number FROM tenants WHERE id = $1 AND deleted IS NULL", args(string(id)),
		func(r row) { number = r.int(0) })
	if err == nil && !found {
		err = domain.ErrTenantNotFound
	}
	return number, err
}

// roomByID has the id's index used alone: while tenants have few rooms each, that of their rooms would look as good.
const roomByID = "SELECT " + roomColumns + " FROM rooms r WHERE r.id = $1 AND r.tenant + 0 = $2 AND r.deleted IS NULL"

func findRoom(c *conn, tenant int64, id domain.RoomID) (found *room, err error) {
	_, err = c.first(roomByID, args(id[:], tenant), func(r row) { found = scanRoom(r) })
	if err == nil && found == nil {
		err = domain.ErrRoomNotFound
	}
	return found, err
}

// findUser is 0 when the tenant has no such user.
func findUser(c *conn, tenant int64, id domain.UserID) (number int64, err error) {
	_, err = c.first("SELECT number FROM users WHERE tenant = $1 AND id = $2", args(tenant, string(id)),
		func(r row) { number = r.int(0) })
	return number, err
}

func findName(c *conn, tenant, number int64) (id domain.UserID, err error) {
	found, err := c.first("SELECT id FROM users WHERE number = $1 AND tenant = $2", args(number, tenant),
		func(r row) { id = domain.UserID(r.text(0)) })
	if err == nil && !found {
		err = fmt.Errorf("postgres: a row names user %d, who does not exist", number)
	}
	return id, err
}

// cachedUsers is how many users' ids are remembered: some 10 MB.
const cachedUsers = 65536

// names remembers the ids of user numbers: a page of history would otherwise look each sender up. A number is never given
// to another user, so it holds for all nodes and for good.
type names struct {
	mu  sync.Mutex
	lru *simplelru.LRU[int64, domain.UserID]
}

func newNames() *names {
	lru, err := simplelru.NewLRU[int64, domain.UserID](cachedUsers, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &names{lru: lru}
}

func (n *names) get(number int64) (domain.UserID, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lru.Get(number)
}

func (n *names) add(number int64, id domain.UserID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lru.Add(number, id)
}
