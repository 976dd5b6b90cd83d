package sqlite

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// reader implements ports.Reader over one connection, within one tenant. What a job and a view find differently, they
// find through source.
type reader struct {
	conn     *conn
	source   source
	tenant   int64 // tenants.number
	tenantID domain.TenantID
}

// source finds rows: in a view in its snapshot, in a job through the writer's caches.
type source interface {
	// ready is errTxDone once the unit of work is over.
	ready() error
	// sync writes what only memory knows, before a statement that reads counters from rows.
	sync() error
	// room is domain.ErrRoomNotFound for a room that is deleted or not the tenant's.
	room(domain.RoomID) (*room, error)
	// user is a user's number, 0 when there is none.
	user(domain.UserID) (int64, error)
	// access is room and the membership of the user, nil when there never was one. The result is shared: read only.
	access(domain.RoomID, domain.UserID) (*room, *domain.Member, error)
	// unread counts what a member has not read, up to domain.MaxUnread.
	unread(sqlrows.Reading) (int64, error)
	// name is the user of a number.
	name(number int64) (domain.UserID, error)
}

// view is the source of one snapshot.
type view struct {
	reader
	names  *names
	counts *sqlrows.Counts
	recent [8]named // users named lately, by the low bits of their number: no lock for each row of a page
	last   *room    // the latest room found: the next question is usually about it
	done   bool
}

type named struct {
	number int64
	id     domain.UserID
}

func (v *view) ready() error {
	if v.done {
		return errTxDone
	}
	return nil
}

func (v *view) sync() error { return nil }

func (v *view) room(id domain.RoomID) (*room, error) {
	if v.last != nil && v.last.ID == id {
		return v.last, nil
	}
	found, err := findRoom(v.conn, v.tenant, id)
	if err != nil {
		return nil, err
	}
	v.last = found
	return found, nil
}

func (v *view) user(id domain.UserID) (int64, error) { return findUser(v.conn, v.tenant, id) }

func (v *view) access(id domain.RoomID, user domain.UserID) (*room, *domain.Member, error) {
	if user == "" {
		r, err := v.room(id)
		return r, nil, err
	}
	var found *room
	var member *domain.Member
	_, err := v.conn.first(`SELECT `+roomColumns+`, `+sqlrows.MemberColumns+` FROM rooms r
		LEFT JOIN users u ON u.tenant = r.tenant AND u.id = ?3
		LEFT JOIN members m ON m.room = r.number AND m.user = u.number
		WHERE r.id = ?1 AND r.tenant = ?2 AND r.deleted IS NULL`, args(id[:], v.tenant, string(user)), func(r row) {
		found = scanRoom(r)
		if !r.Null(roomWidth) {
			member = sqlrows.ScanMember(r[roomWidth:], user)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if found == nil {
		return nil, nil, domain.ErrRoomNotFound
	}
	v.last = found
	return found, member, nil
}

// name keeps what a snapshot shows: it is committed, and a number is never given to another user.
func (v *view) name(number int64) (domain.UserID, error) {
	recent := &v.recent[number&7]
	if recent.number == number {
		return recent.id, nil
	}
	id, ok := v.names.get(number)
	if !ok {
		found, err := findName(v.conn, number)
		if err != nil {
			return "", err
		}
		id = found
		v.names.add(number, id)
	}
	*recent = named{number, id}
	return id, nil
}
