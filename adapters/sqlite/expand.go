package sqlite

import (
	"encoding/json"
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// expansion is a row of the table expansions.
type expansion struct {
	notification int64
	stage, place int64
	total        int64
	room, rev    int64
	subscribers  int64
	users        []domain.UserID
}

// audience is the number of a room and its position; 0 of one that is not there.
func (t *tx) audience(id domain.RoomID) (room, rev int64, err error) {
	if id.IsZero() {
		return 0, 0, nil
	}
	found, err := t.room(id)
	switch {
	case errors.Is(err, domain.ErrRoomNotFound):
		return 0, 0, nil
	case err != nil:
		return 0, 0, err
	}
	return found.number, found.LastRev, nil
}

// Expand implements ports.NotificationWriter.
func (t *tx) Expand(id domain.NotificationID, limit int) (ports.Expansion, error) {
	if err := t.ready(); err != nil {
		return ports.Expansion{}, err
	}
	n, err := t.notification(id)
	if errors.Is(err, domain.ErrNoNotification) {
		return ports.Expansion{Done: true}, nil
	}
	if err != nil {
		return ports.Expansion{}, err
	}
	e, err := t.expansion(n.number)
	if err != nil {
		return ports.Expansion{}, err
	}
	if e.stage == sqlrows.StageDone {
		return ports.Expansion{Total: int(n.total), Done: true}, nil
	}
	found, err := t.nextTargets(&e, limit)
	if err != nil {
		return ports.Expansion{}, err
	}
	step := ports.Expansion{Endpoints: found.endpoints, Done: e.stage == sqlrows.StageDone}
	if step.Recipients, err = t.deliver(n, found.recipients); err != nil {
		return ports.Expansion{}, err
	}
	e.total += int64(step.Recipients + len(step.Endpoints))
	step.Total = int(e.total)
	return step, t.keepExpansion(e, id)
}

// expansion is done when there is none.
func (t *tx) expansion(notification int64) (e expansion, err error) {
	var broken error
	e = expansion{notification: notification, stage: sqlrows.StageDone}
	_, err = t.conn.first(`SELECT stage, place, total, room, rev, subscribers, users FROM expansions
		WHERE notification = ? AND tenant = ?`, args(notification, t.tenant), func(r row) {
		e.stage, e.place, e.total = r.Int(0), r.Int(1), r.Int(2)
		e.room, e.rev, e.subscribers = r.Int(3), r.Int(4), r.Int(5)
		broken = json.Unmarshal([]byte(r.Text(6)), &e.users)
	})
	if err == nil {
		err = broken
	}
	return e, err
}

// keepExpansion stores how far it is. Jobs of the last endpoints come after it: whether anybody waits for the
// notification is seen at the end of the unit of work.
func (t *tx) keepExpansion(e expansion, id domain.NotificationID) error {
	if e.stage != sqlrows.StageDone {
		return t.put("UPDATE expansions SET stage = ?, place = ?, total = ?, room = ? WHERE notification = ? AND tenant = ?",
			e.stage, e.place, e.total, e.room, e.notification, t.tenant)
	}
	t.waitsNoMore(id)
	if err := t.put("UPDATE notifications SET total = ? WHERE number = ? AND tenant = ?", e.total, e.notification, t.tenant); err != nil {
		return err
	}
	return t.put("DELETE FROM expansions WHERE notification = ? AND tenant = ?", e.notification, t.tenant)
}

// reached are targets that are dealt with now.
type reached struct {
	recipients []recipient
	endpoints  []domain.Subscription
}

// nextTargets goes on by up to limit targets. A stage has come to its end when it has fewer than were asked for.
func (t *tx) nextTargets(e *expansion, limit int) (next reached, err error) {
	for left := int64(limit); left > 0 && e.stage != sqlrows.StageDone; {
		n, err := t.targetsOf(e, left, &next)
		if err != nil {
			return reached{}, err
		}
		if n < left {
			e.stage, e.place = e.stage+1, 0
		}
		left -= n
	}
	return next, nil
}

// targetsOf adds up to limit targets of the present stage and moves its place behind them. It returns how many it has
// looked at: those who are targets by an earlier stage too are passed over, whether they still wait or not.
func (t *tx) targetsOf(e *expansion, limit int64, next *reached) (n int64, err error) {
	switch e.stage {
	case sqlrows.StageUsers:
		return t.namedTargets(e, limit, next)
	case sqlrows.StageRoom:
		return t.memberTargets(e, limit, next)
	}
	return t.subscriberTargets(e, limit, next)
}

func (t *tx) namedTargets(e *expansion, limit int64, next *reached) (n int64, err error) {
	page := e.users[min(e.place, int64(len(e.users))):]
	page = page[:min(limit, int64(len(page)))]
	if len(page) == 0 {
		return 0, nil
	}
	numbered, err := t.ensureUsers(page)
	next.recipients = append(next.recipients, numbered...)
	e.place += int64(len(page))
	return int64(len(page)), err
}

// ensureUsers is ensureUser for many.
func (t *tx) ensureUsers(ids []domain.UserID) (numbered []recipient, err error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	err = t.put(`INSERT INTO users (tenant, id) SELECT ?, value FROM json_each(?) WHERE true ON CONFLICT (tenant, id) DO NOTHING`,
		t.tenant, string(list))
	if err != nil {
		return nil, err
	}
	err = t.conn.query("SELECT u.number, u.id FROM json_each(?) j CROSS JOIN users u ON u.tenant = ? AND u.id = j.value",
		args(string(list), t.tenant), func(r row) error {
			numbered = append(numbered, recipient{r.Int(0), domain.UserID(r.Text(1))})
			return nil
		})
	return numbered, err
}

// wasMember is whether a membership m stood at a position of its room. One that ended after it and began anew counts as
// begun after it: of the earlier one nothing is left but the room's log.
const wasMember = "m.joined_rev < ?1 AND (m.state = 1 OR m.left_rev > ?1)"

// memberTargets looks at memberships in the order of users' numbers, which stays whoever comes and goes. When the room is
// gone, those who had it by then are told apart no more: a subscriber among them who has acknowledged it gets it again.
func (t *tx) memberTargets(e *expansion, limit int64, next *reached) (n int64, err error) {
	if e.room != 0 {
		there, err := t.conn.first("SELECT 1 FROM rooms WHERE number = ? AND tenant = ? AND deleted IS NULL",
			args(e.room, t.tenant), func(row) {})
		if err != nil {
			return 0, err
		}
		if !there {
			e.room = 0
		}
	}
	if e.room == 0 {
		return 0, nil
	}
	named := sqlrows.SetOf(e.users)
	err = t.conn.query("SELECT m.user, u.id, "+wasMember+` FROM members m CROSS JOIN users u ON u.number = m.user
		WHERE m.room = ?2 AND m.user > ?3 ORDER BY m.user LIMIT 0 + ?4`, args(e.rev, e.room, e.place, limit), func(r row) error {
		n++
		e.place = r.Int(0)
		user := domain.UserID(r.Text(1))
		if _, again := named[user]; r.Int(2) != 0 && !again && !user.IsReserved() {
			next.recipients = append(next.recipients, recipient{r.Int(0), user})
		}
		return nil
	})
	return n, err
}

func (t *tx) subscriberTargets(e *expansion, limit int64, next *reached) (n int64, err error) {
	if e.subscribers == 0 {
		return 0, nil
	}
	named := sqlrows.SetOf(e.users)
	err = t.conn.query("SELECT s.number, s.user, m.user IS NOT NULL AND "+wasMember+", "+sqlrows.SubscriptionColumns+`
		FROM notifications n CROSS JOIN subscriptions s INDEXED BY subscriptions_topic ON s.tenant = n.tenant AND s.topic = n.topic
		LEFT JOIN users u ON u.number = s.user LEFT JOIN members m ON m.room = ?2 AND m.user = s.user
		WHERE n.number = ?3 AND n.tenant = ?4 AND s.number > ?5 AND s.number <= ?6 ORDER BY s.number LIMIT 0 + ?7`,
		args(e.rev, e.room, e.notification, t.tenant, e.place, e.subscribers, limit), func(r row) error {
			n++
			e.place = r.Int(0)
			s := sqlrows.ScanSubscription(r[3:])
			if s.Endpoint != "" {
				next.endpoints = append(next.endpoints, s)
				return nil
			}
			if _, again := named[s.User]; r.Int(2) == 0 && !again {
				next.recipients = append(next.recipients, recipient{r.Int(1), s.User})
			}
			return nil
		})
	return n, err
}
