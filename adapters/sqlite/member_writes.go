package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// placeBits leaves room for the members of one change: those who join together keep the order they were named in.
const placeBits = 7

// insertMember makes a user a member at a position, or an active one again, whose read mark stays; i is the place among
// those who join by the same change.
func (t *tx) insertMember(r *room, m domain.Member, rev int64, i int) error {
	user, err := t.ensureUser(m.User)
	if err != nil {
		return err
	}
	userRev, err := t.raiseUserRev(user)
	if err != nil {
		return err
	}
	err = t.put(`INSERT INTO members (room, user, role, state, joined_at, place, joined_seq, joined_rev, user_rev, rev, bot)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (room, user) DO UPDATE SET role = excluded.role,
		state = excluded.state, joined_at = excluded.joined_at, place = excluded.place, joined_seq = excluded.joined_seq,
		joined_rev = excluded.joined_rev, left_seq = 0, left_rev = 0, user_rev = excluded.user_rev, rev = excluded.rev`,
		r.number, user, string(m.Role), int64(m.State), m.JoinedAt.UnixMilli(), rev<<placeBits|int64(i),
		m.JoinedSeq, m.JoinedRev, userRev, rev, sqlrows.BotOrNull(m.User))
	if err != nil {
		return err
	}
	t.w.cache.members.put(memberKey{r.number, user}, &m)
	return t.countBot(r, m.User, 1)
}

// AddMember implements ports.MemberWriter.
func (t *tx) AddMember(id domain.RoomID, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error) {
	if err := t.ready(); err != nil {
		return domain.Member{}, err
	}
	found, member, err := t.access(id, user)
	if err != nil {
		return domain.Member{}, err
	}
	if member.IsActive() {
		return *member, nil
	}
	number, err := t.ensureUser(user)
	if err != nil {
		return domain.Member{}, err
	}
	r := t.change(found)
	r.Members++
	joined := domain.Member{
		User: user, Role: role, State: domain.Active, JoinedAt: at, JoinedSeq: r.LastSeq, JoinedRev: r.LastRev,
	}
	if member != nil {
		joined.ReadSeq = member.ReadSeq
	}
	rev, err := t.step(r, domain.EventMemberAdded, number, at)
	if err != nil {
		return domain.Member{}, err
	}
	if err := t.insertMember(r, joined, rev, 0); err != nil {
		return domain.Member{}, err
	}
	t.emitMember(r, domain.EventMemberAdded, rev, at, joined)
	return joined, nil
}

// RemoveMember implements ports.MemberWriter.
func (t *tx) RemoveMember(id domain.RoomID, user domain.UserID, at time.Time) (domain.Member, error) {
	return t.updateMember(id, user, domain.EventMemberRemoved, at, func(r *room, m *domain.Member) bool {
		m.State, m.LeftSeq, m.LeftRev = domain.Left, r.LastSeq, r.LastRev+1
		return true
	})
}

// SetRole implements ports.MemberWriter.
func (t *tx) SetRole(id domain.RoomID, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error) {
	return t.updateMember(id, user, domain.EventMemberUpdated, at, func(_ *room, m *domain.Member) bool {
		changed := m.Role != role
		m.Role = role
		return changed
	})
}

// updateMember applies a change to an active membership; apply says whether there is anything to change.
func (t *tx) updateMember(id domain.RoomID, user domain.UserID, kind domain.EventKind, at time.Time,
	apply func(*room, *domain.Member) bool,
) (domain.Member, error) {
	if err := t.ready(); err != nil {
		return domain.Member{}, err
	}
	found, member, err := t.access(id, user)
	if err != nil {
		return domain.Member{}, err
	}
	if !member.IsActive() {
		return domain.Member{}, domain.ErrMemberNotFound
	}
	changed := *member
	if !apply(found, &changed) {
		return changed, nil
	}
	number, err := t.user(user)
	if err != nil {
		return domain.Member{}, err
	}
	r := t.change(found)
	if !changed.IsActive() {
		r.Members--
		if err := t.countBot(r, user, -1); err != nil {
			return domain.Member{}, err
		}
	}
	rev, err := t.step(r, kind, number, at)
	if err != nil {
		return domain.Member{}, err
	}
	if err := t.storeMember(r, number, rev, changed); err != nil {
		return domain.Member{}, err
	}
	t.emitMember(r, kind, rev, at, changed)
	return changed, nil
}

func (t *tx) storeMember(r *room, user, rev int64, m domain.Member) error {
	userRev, err := t.raiseUserRev(user)
	if err != nil {
		return err
	}
	err = t.put("UPDATE members SET role = ?, state = ?, left_seq = ?, left_rev = ?, user_rev = ?, rev = ? WHERE room = ? AND user = ?",
		string(m.Role), int64(m.State), m.LeftSeq, m.LeftRev, userRev, rev, r.number, user)
	if err != nil {
		return err
	}
	t.w.cache.members.put(memberKey{r.number, user}, &m)
	return nil
}

func (t *tx) emitMember(r *room, kind domain.EventKind, rev int64, at time.Time, m domain.Member) {
	t.emit(domain.Event{Room: r.ID, Rev: rev, Kind: kind, At: at, Member: &m, Members: r.Members})
}
