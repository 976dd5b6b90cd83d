package postgres

import "github.com/chatapi/chatapi/domain"

func findTenant(c *conn, id domain.TenantID) (number int64, err error) {
	found, err := c.first("SELECT number FROM tenants WHERE id = $1 AND deleted IS NULL", args(string(id)),
		func(r row) { number = r.Int(0) })
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
		func(r row) { number = r.Int(0) })
	return number, err
}
