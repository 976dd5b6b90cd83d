package postgres

import (
	"errors"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// placeBits leaves room for the members of one change: those who join together keep the order they were named in.
const placeBits = 7

// numbersOf finds users. Their rows are locked in the order of their numbers, whatever order they are named in, so that two
// rooms being made with the same people do not wait for each other in a circle.
const numbersOf = `SELECT id, number FROM users WHERE tenant = $1 AND id = ANY($2::text[]) ORDER BY number FOR NO KEY UPDATE`

// lockUsers finds the numbers of users, who exist from then on, and locks their rows.
func (t *tx) lockUsers(ids []domain.UserID) (map[domain.UserID]int64, error) {
	found := make(map[domain.UserID]int64, len(ids))
	find := func() error {
		return t.returning(numbersOf, args(t.tenant, texts(ids)), func(r row) error {
			found[domain.UserID(r.Text(0))] = r.Int(1)
			return nil
		})
	}
	if err := find(); err != nil {
		return nil, err
	}
	var missing []domain.UserID
	for _, id := range ids {
		if found[id] == 0 {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	if err := t.ensureUsers(missing); err != nil {
		return nil, err
	}
	return found, find()
}

// errNoUser is a user who was there a moment ago.
var errNoUser = errors.New("postgres: a user is gone")

// insertMembers makes users the first members of a room at the position of its making.
func (t *tx) insertMembers(r *room, members []domain.Member) error {
	if len(members) == 0 {
		return nil
	}
	ids := make([]domain.UserID, len(members))
	for i, m := range members {
		ids[i] = m.User
	}
	numbers, err := t.lockUsers(ids)
	if err != nil {
		return err
	}
	users := make([]int64, len(members))
	roles := make([]string, len(members))
	states := make([]int64, len(members))
	joined := make([]int64, len(members))
	bots := make([][]byte, len(members))
	for i, m := range members {
		users[i], roles[i], states[i], joined[i] = numbers[m.User], string(m.Role), int64(m.State), m.JoinedAt.UnixMilli()
		if users[i] == 0 {
			return errNoUser
		}
		t.users[m.User] = users[i]
		if bot, ok := m.User.Bot(); ok {
			bots[i] = bot[:]
		}
	}
	err = t.put(`WITH counted AS (UPDATE users SET user_rev = user_rev + 1 WHERE number = ANY($4::bigint[]) AND tenant = $1
			RETURNING number, user_rev)
		INSERT INTO members (tenant, room, user_no, role, state, joined_at, place, joined_seq, joined_rev, user_rev, rev, bot)
		SELECT $1, $2, m.user_no, m.role, m.state, m.joined_at, ($3::bigint << $9::int) + m.i - 1, 0, 0, c.user_rev, $3, m.bot
		FROM unnest($4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::uuid[])
			WITH ORDINALITY AS m (user_no, role, state, joined_at, bot, i) JOIN counted c ON c.number = m.user_no`,
		t.tenant, r.number, r.LastRev, users, roles, states, joined, bots, int64(placeBits))
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := t.countBot(r, m.User, 1); err != nil {
			return err
		}
	}
	return nil
}

// ensureFor makes a user who is to be a member of a room that exists.
const ensureFor = `INSERT INTO users (tenant, id) SELECT $2::bigint, $3::text FROM rooms
	WHERE id = $1 AND tenant + 0 = $2 AND deleted IS NULL AND NOT EXISTS (SELECT 1 FROM users WHERE tenant = $2 AND id = $3)
	ON CONFLICT (tenant, id) DO NOTHING`

// AddMember implements ports.MemberWriter. It takes two exchanges with the server: a hundred who are added in one unit of
// work have others wait for the room meanwhile.
func (t *tx) AddMember(id domain.RoomID, user domain.UserID, role domain.Role, at time.Time) (domain.Member, error) {
	if err := t.ready(); err != nil {
		return domain.Member{}, err
	}
	r, member, err := t.accessAs(id, user, step{query: ensureFor, args: args(id[:], t.tenant, string(user))})
	if err != nil {
		return domain.Member{}, err
	}
	if member.IsActive() {
		return *member, nil
	}
	number := t.users[user]
	if number == 0 {
		return domain.Member{}, errNoUser
	}
	joined := domain.Member{
		User: user, Role: role, State: domain.Active, JoinedAt: at, JoinedSeq: r.LastSeq, JoinedRev: r.LastRev,
	}
	if member != nil {
		joined.ReadSeq = member.ReadSeq
	}
	r.Members++
	rev, err := t.step(r, domain.EventMemberAdded, number, at, t.memberJoins(r, number, joined, r.LastRev+1))
	if err != nil {
		return domain.Member{}, err
	}
	t.emitMember(r, domain.EventMemberAdded, rev, at, joined)
	return joined, t.countBot(r, user, 1)
}

// memberJoins makes a user a member at a position, or an active one again, whose read mark stays.
func (t *tx) memberJoins(r *room, user int64, m domain.Member, rev int64) step {
	return step{
		query: `WITH counted AS (UPDATE users SET user_rev = user_rev + 1 WHERE number = $3 AND tenant = $1 RETURNING user_rev)
			INSERT INTO members (tenant, room, user_no, role, state, joined_at, place, joined_seq, joined_rev, user_rev, rev, bot)
			SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, user_rev, $10, $11 FROM counted
			ON CONFLICT (room, user_no) DO UPDATE SET role = excluded.role, state = excluded.state, joined_at = excluded.joined_at,
			place = excluded.place, joined_seq = excluded.joined_seq, joined_rev = excluded.joined_rev, left_seq = 0, left_rev = 0,
			user_rev = excluded.user_rev, rev = excluded.rev`,
		args: args(t.tenant, r.number, user, string(m.Role), int64(m.State), m.JoinedAt.UnixMilli(), rev<<placeBits,
			m.JoinedSeq, m.JoinedRev, rev, sqlrows.BotOrNull(m.User)),
	}
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
	r, member, err := t.access(id, user)
	if err != nil {
		return domain.Member{}, err
	}
	if !member.IsActive() {
		return domain.Member{}, domain.ErrMemberNotFound
	}
	changed := *member
	if !apply(r, &changed) {
		return changed, nil
	}
	number, err := t.user(user)
	if err != nil {
		return domain.Member{}, err
	}
	if !changed.IsActive() {
		r.Members--
		if err := t.countBot(r, user, -1); err != nil {
			return domain.Member{}, err
		}
	}
	rev, err := t.step(r, kind, number, at, t.memberChanges(r, number, r.LastRev+1, changed))
	if err != nil {
		return domain.Member{}, err
	}
	t.emitMember(r, kind, rev, at, changed)
	return changed, nil
}

// memberChanges stores what becomes of a membership at a position.
func (t *tx) memberChanges(r *room, user, rev int64, m domain.Member) step {
	return step{
		query: `WITH counted AS (UPDATE users SET user_rev = user_rev + 1 WHERE number = $2 AND tenant = $3 RETURNING user_rev)
			UPDATE members m SET role = $4, state = $5, left_seq = $6, left_rev = $7, user_rev = c.user_rev, rev = $8
			FROM counted c WHERE m.room = $1 AND m.user_no = $2 AND m.tenant = $3`,
		args: args(r.number, user, t.tenant, string(m.Role), int64(m.State), m.LeftSeq, m.LeftRev, rev),
	}
}

func (t *tx) emitMember(r *room, kind domain.EventKind, rev int64, at time.Time, m domain.Member) {
	t.emit(domain.Event{Room: r.ID, Rev: rev, Kind: kind, At: at, Member: &m, Members: r.Members})
}
