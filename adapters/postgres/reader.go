package postgres

import (
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// reader implements ports.Reader over one connection, within one tenant. What a view and a unit of work find differently,
// they find through source.
type reader struct {
	conn     *conn
	source   source
	tenant   int64 // tenants.number
	tenantID domain.TenantID
	counts   *sqlrows.Counts // nil in a unit of work
}

// source finds rows: in a view in its snapshot, in a unit of work under the locks it needs.
type source interface {
	// ready is errDone once the unit of work is over.
	ready() error
	// room is domain.ErrRoomNotFound for a room that is deleted or not the tenant's. In a unit of work it is locked from then on.
	room(domain.RoomID) (*room, error)
	// look is room without a lock: for what does not rest on the room staying as it is.
	look(domain.RoomID) (*room, error)
	// user is a user's number, 0 when there is none.
	user(domain.UserID) (int64, error)
	// access is room and the membership of the user, nil when there never was one. The result is shared: read only.
	access(domain.RoomID, domain.UserID) (*room, *domain.Member, error)
}

// errDone is a use of a Reader or Tx after its closure has returned.
var errDone = errors.New("postgres: used after its unit of work has ended")
