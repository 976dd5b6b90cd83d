package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// view is the source of one snapshot.
type view struct {
	reader
	last *room // the latest room found: the next question is usually about it
	done bool
}

var _ source = (*view)(nil)

// View implements ports.Store.
func (s *Store) View(ctx context.Context, tenant domain.TenantID, fn func(ports.Reader) error) error {
	if !s.enter() {
		return domain.ErrClosing
	}
	if err := s.views.enter(ctx, tenant, acquirePatience); err != nil {
		s.leave()
		return err
	}
	c, number, err := s.begin(ctx, s.tenants, toRead, tenant)
	if err != nil {
		s.views.leave(tenant)
		s.leave()
		return s.translateStatement(err)
	}
	v := &view{}
	v.reader = reader{conn: working(c), source: v, tenant: number, tenantID: tenant, counts: s.counts}
	defer func() {
		v.done = true
		go s.endView(tenant, c) // nobody has to wait for it
	}()
	err = fn(v)
	if trouble := v.conn.trouble; trouble != nil && isEnvironment(trouble) {
		return s.translate(trouble)
	}
	return err
}

// endView lets go of the snapshot.
func (s *Store) endView(tenant domain.TenantID, c *pgxpool.Conn) {
	defer s.leave()
	defer s.views.leave(tenant)
	rollback(c)
	release(c)
}

// read runs fn on a connection that sees the rows of all tenants, outside of any transaction: each statement is its own
// snapshot. fn may run again: on another connection, when the first was dead.
func (s *Store) read(ctx context.Context, fn func(*conn) error) error {
	if !s.enter() {
		return domain.ErrClosing
	}
	defer s.leave()
	for started := time.Now(); ; {
		err := s.readOnce(ctx, fn)
		if isLost(err) && time.Since(started) < acquirePatience && ctx.Err() == nil {
			continue
		}
		return s.translateStatement(err)
	}
}

func (s *Store) readOnce(ctx context.Context, fn func(*conn) error) error {
	c, err := s.acquire(ctx, s.operators, acquirePatience)
	if err != nil {
		return err
	}
	defer release(c)
	db := working(c)
	err = fn(db)
	if db.trouble != nil && isEnvironment(db.trouble) {
		return statementError{db.trouble}
	}
	return err
}

func (v *view) ready() error {
	if v.done {
		return errDone
	}
	return nil
}

func (v *view) room(id domain.RoomID) (*room, error) {
	if v.last != nil && v.last.ID == id {
		return v.last, nil
	}
	found, err := findRoom(v.conn, v.tenant, id)
	if err == nil {
		v.last = found
	}
	return found, err
}

func (v *view) look(id domain.RoomID) (*room, error) { return v.room(id) }

func (v *view) user(id domain.UserID) (int64, error) { return findUser(v.conn, v.tenant, id) }

func (v *view) access(id domain.RoomID, user domain.UserID) (*room, *domain.Member, error) {
	if user == "" {
		r, err := v.room(id)
		return r, nil, err
	}
	var found *room
	var member *domain.Member
	_, err := v.conn.first(`SELECT `+roomColumns+`, `+sqlrows.MemberColumns+` FROM rooms r
		LEFT JOIN users u ON u.tenant = r.tenant AND u.id = $3
		LEFT JOIN members m ON m.room = r.number AND m.user_no = u.number
		WHERE r.id = $1 AND r.tenant + 0 = $2 AND r.deleted IS NULL`, args(id[:], v.tenant, string(user)), func(r row) {
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
