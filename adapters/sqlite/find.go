package sqlite

import (
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

func findTenant(c *conn, id domain.TenantID) (number int64, err error) {
	found, err := c.first("SELECT number FROM tenants WHERE id = ? AND deleted IS NULL", args(string(id)),
		func(r row) { number = r.Int(0) })
	if err == nil && !found {
		err = domain.ErrTenantNotFound
	}
	return number, err
}

func findRoom(c *conn, tenant int64, id domain.RoomID) (found *room, err error) {
	_, err = c.first("SELECT "+roomColumns+" FROM rooms r WHERE r.id = ? AND r.tenant = ? AND r.deleted IS NULL",
		args(id[:], tenant), func(r row) { found = scanRoom(r) })
	if err == nil && found == nil {
		err = domain.ErrRoomNotFound
	}
	return found, err
}

// findUser is 0 when the tenant has no such user.
func findUser(c *conn, tenant int64, id domain.UserID) (number int64, err error) {
	_, err = c.first("SELECT number FROM users WHERE tenant = ? AND id = ?", args(tenant, string(id)),
		func(r row) { number = r.Int(0) })
	return number, err
}

func findMember(c *conn, room, user int64, id domain.UserID) (member *domain.Member, err error) {
	_, err = c.first("SELECT "+sqlrows.MemberColumns+" FROM members m WHERE m.room = ? AND m.user = ?", args(room, user),
		func(r row) { member = sqlrows.ScanMember(r, id) })
	return member, err
}

func findName(c *conn, number int64) (id domain.UserID, err error) {
	found, err := c.first("SELECT id FROM users WHERE number = ?", args(number), func(r row) { id = domain.UserID(r.Text(0)) })
	if err == nil && !found {
		err = fmt.Errorf("sqlite: a row names user %d, who does not exist", number)
	}
	return id, err
}

// names remembers the ids of user numbers for all views: a page of history would otherwise look each sender up.
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
