package sqlite

import "github.com/chatapi/chatapi/domain"

// A job is the source of its own reads.
var _ source = (*tx)(nil)

// sync writes the counters of all rooms changed so far. They stay dirty: a later rollback of this job may take the
// writing back, and the end of the batch writes them for good.
func (t *tx) sync() error { return t.w.cache.flush(t.w.conn) }

func (t *tx) room(id domain.RoomID) (*room, error) {
	found, ok := t.w.cache.rooms.get(id)
	if !ok {
		loaded, err := findRoom(t.w.conn, t.tenant, id)
		if err != nil {
			return nil, err
		}
		t.w.cache.rooms.put(id, loaded)
		return loaded, nil
	}
	if found == nil || found.tenant != t.tenant {
		return nil, domain.ErrRoomNotFound
	}
	return found, nil
}

func (t *tx) user(id domain.UserID) (int64, error) {
	key := userKey{t.tenant, id}
	if number, ok := t.w.cache.users.get(key); ok && number != nil {
		return *number, nil
	}
	number, err := findUser(t.w.conn, t.tenant, id)
	if err == nil && number != 0 {
		t.w.cache.users.put(key, &number)
	}
	return number, err
}

func (t *tx) member(r *room, user int64, id domain.UserID) (*domain.Member, error) {
	if user == 0 {
		return nil, nil
	}
	key := memberKey{r.number, user}
	if m, ok := t.w.cache.members.get(key); ok {
		return m, nil
	}
	m, err := findMember(t.w.conn, r.number, user, id)
	if err == nil && m != nil {
		t.w.cache.members.put(key, m)
	}
	return m, err
}

func (t *tx) access(id domain.RoomID, user domain.UserID) (*room, *domain.Member, error) {
	r, err := t.room(id)
	if err != nil || user == "" {
		return r, nil, err
	}
	number, err := t.user(user)
	if err != nil {
		return nil, nil, err
	}
	m, err := t.member(r, number, user)
	return r, m, err
}

// name reads the shared memory but does not add to it: this transaction may yet be rolled back.
func (t *tx) name(number int64) (domain.UserID, error) {
	if id, ok := t.w.store.names.get(number); ok {
		return id, nil
	}
	return findName(t.w.conn, number)
}

// change returns a copy of a room for this job to change; the batch's own stays as it is until the job is kept.
func (t *tx) change(r *room) *room {
	own, ok := t.w.cache.rooms.job[r.ID]
	if ok && own == r && r.dirty {
		return r
	}
	changed := *r
	changed.dirty = true
	t.w.cache.rooms.put(r.ID, &changed)
	return &changed
}
