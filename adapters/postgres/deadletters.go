package postgres

import (
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

const (
	letterColumns = sqlrows.JobColumns + ", id, job, job_attempts, user_id, from_seq, to_seq, attempts, attempted, error, at, number," +
		" (SELECT n.topic FROM notifications n WHERE n.tenant = dead_letters.tenant AND n.id = dead_letters.notification)"
	// lettersOf is one of the two lists of a tenant's dead letters, each along an index of its own.
	lettersOf = "SELECT " + letterColumns + " FROM dead_letters WHERE tenant = $1 AND notification "
)

// DeadLetters implements ports.DeadLetterReader.
func (r *reader) DeadLetters(notifications bool, limit int) ([]domain.DeadLetter, error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	query := lettersOf + "IS NULL ORDER BY number DESC LIMIT $2"
	if notifications {
		query = lettersOf + "IS NOT NULL ORDER BY number DESC LIMIT $2"
	}
	var letters []domain.DeadLetter
	err := r.conn.query(query, args(r.tenant, int64(limit)), func(row row) error {
		letter, _ := sqlrows.ScanLetter(row)
		letters = append(letters, letter)
		return nil
	})
	return letters, err
}

// lockLetters has one unit of work at a time change which dead letters the tenant has, so that their number, the oldest and
// the only one of a run are what they are taken for until its commit.
func (t *tx) lockLetters() error {
	return t.put("SELECT 1 FROM tenants WHERE number = $1 FOR NO KEY UPDATE", t.tenant)
}

const addLetter = "INSERT INTO dead_letters (" + sqlrows.JobColumns + `, id, job, job_attempts, user_id, from_seq, to_seq, attempts, attempted,
	error, at, tenant) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
	$23, $24, $25, $26)`

// AddDeadLetter implements ports.OutboxWriter.
func (t *tx) AddDeadLetter(letter domain.DeadLetter) error {
	if err := t.ready(); err != nil {
		return err
	}
	kept, err := t.countLetters(t.tenant, 1)
	if err != nil {
		return err
	}
	err = t.put(addLetter, append(jobValues(letter.Job, 0), args(
		letter.ID[:], letter.Job.ID[:], int64(letter.Job.Attempts), sqlrows.TextOrNull(string(letter.User)), letter.FromSeq, letter.ToSeq,
		int64(letter.Attempts), sqlrows.TimeOrNull(letter.LastAttemptAt), letter.Error, letter.At.UnixMilli(), t.tenant)...)...)
	for ; err == nil && kept > domain.DeadLettersKept; kept-- {
		err = t.dropOldest()
	}
	return err
}

// countLetters keeps how many there are of a tenant: to count them whenever one is added would take as long as all the
// rest of a settlement. It locks the letters like lockLetters.
func (t *tx) countLetters(tenant, more int64) (kept int64, err error) {
	err = t.returning("UPDATE tenants SET dead_letters = dead_letters + $1 WHERE number = $2 RETURNING dead_letters",
		args(more, tenant), func(r row) error {
			kept = r.Int(0)
			return nil
		})
	return kept, err
}

// dropOldest removes the oldest of the tenant's, of messages on sockets first: users make those, and lose nothing by it.
// The letters are locked.
func (t *tx) dropOldest() error {
	var number int64
	var of domain.NotificationID
	found, err := t.conn.first(`WITH oldest AS MATERIALIZED (SELECT coalesce(
			(SELECT min(number) FROM dead_letters WHERE tenant = $1 AND lane = 'socket' AND room IS NOT NULL),
			least((SELECT min(number) FROM dead_letters WHERE tenant = $1 AND notification IS NULL),
				(SELECT min(number) FROM dead_letters WHERE tenant = $1 AND notification IS NOT NULL))) AS number)
		SELECT d.number, d.notification FROM oldest JOIN dead_letters d ON d.number = oldest.number WHERE d.tenant = $1`,
		args(t.tenant), func(r row) {
			number = r.Int(0)
			copy(of[:], r.Blob(1))
		})
	if err != nil || !found {
		return err
	}
	return t.removeLetter(number, of)
}

// removeLetter removes one while the letters are locked, unless it is gone.
func (t *tx) removeLetter(number int64, of domain.NotificationID) error {
	n, err := t.remove("DELETE FROM dead_letters WHERE number = $1 AND tenant = $2", number, t.tenant)
	if err != nil || n == 0 {
		return err
	}
	t.waitsNoMore(of)
	_, err = t.countLetters(t.tenant, -1)
	return err
}

// GrowDeadLetter implements ports.OutboxWriter. A run that has grown is the newest letter.
func (t *tx) GrowDeadLetter(letter domain.DeadLetter) error {
	if err := t.ready(); err != nil {
		return err
	}
	before, number, err := t.letter(`tenant = $1 AND user_id = $2 AND room = $3 AND lane = 'socket'`,
		t.tenant, string(letter.User), letter.Job.Room[:])
	if errors.Is(err, domain.ErrLetterNotFound) {
		return t.AddDeadLetter(letter)
	}
	if err == nil {
		err = t.removeLetter(number, domain.NotificationID{})
	}
	if err != nil {
		return err
	}
	return t.AddDeadLetter(sqlrows.GrownLetter(before, letter))
}

// TakeDeadLetter implements ports.OutboxWriter.
func (t *tx) TakeDeadLetter(id domain.DeadLetterID) (domain.DeadLetter, error) {
	if err := t.ready(); err != nil {
		return domain.DeadLetter{}, err
	}
	letter, number, err := t.letter("tenant = $1 AND id = $2", t.tenant, id[:])
	if err == nil {
		err = t.removeLetter(number, letter.Job.Notification)
	}
	if err != nil {
		return domain.DeadLetter{}, err
	}
	return letter, nil
}

// letter finds the only one of a condition. The letters are locked from then on.
func (t *tx) letter(where string, values ...any) (letter domain.DeadLetter, number int64, err error) {
	if err := t.lockLetters(); err != nil {
		return domain.DeadLetter{}, 0, err
	}
	found, err := t.conn.first("SELECT "+letterColumns+" FROM dead_letters WHERE "+where, values, func(r row) { letter, number = sqlrows.ScanLetter(r) })
	if err == nil && !found {
		err = domain.ErrLetterNotFound
	}
	return letter, number, err
}
