package sqlite

import (
	"database/sql/driver"
	"errors"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

const (
	letterColumns = sqlrows.JobColumns + ", id, job, job_attempts, user, from_seq, to_seq, attempts, attempted, error, at, number," +
		" (SELECT n.topic FROM notifications n WHERE n.tenant = dead_letters.tenant AND n.id = dead_letters.notification)"
	// lettersOf is one of the two lists of a tenant's dead letters, each along an index of its own.
	lettersOf = "SELECT " + letterColumns + " FROM dead_letters WHERE tenant = ? AND notification "
)

// DeadLetters implements ports.DeadLetterReader.
func (r *reader) DeadLetters(notifications bool, limit int) ([]domain.DeadLetter, error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	query := lettersOf + "IS NULL ORDER BY number DESC LIMIT 0 + ?"
	if notifications {
		query = lettersOf + "IS NOT NULL ORDER BY number DESC LIMIT 0 + ?"
	}
	var letters []domain.DeadLetter
	err := r.conn.query(query, args(r.tenant, int64(limit)), func(row row) error {
		letter, _ := sqlrows.ScanLetter(row)
		letters = append(letters, letter)
		return nil
	})
	return letters, err
}

// AddDeadLetter implements ports.OutboxWriter.
func (t *tx) AddDeadLetter(letter domain.DeadLetter) error {
	if err := t.ready(); err != nil {
		return err
	}
	values := append(jobValues(letter.Job, 0), args(
		letter.ID[:], letter.Job.ID[:], int64(letter.Job.Attempts), sqlrows.TextOrNull(string(letter.User)), letter.FromSeq, letter.ToSeq,
		int64(letter.Attempts), sqlrows.TimeOrNull(letter.LastAttemptAt), letter.Error, letter.At.UnixMilli(), t.tenant)...)
	err := t.put("INSERT INTO dead_letters ("+sqlrows.JobColumns+`, id, job, job_attempts, user, from_seq, to_seq, attempts, attempted,
		error, at, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, values...)
	if err != nil {
		return err
	}
	kept, err := t.countLetters(t.tenant, 1)
	for ; err == nil && kept > domain.DeadLettersKept; kept-- {
		err = t.dropOldest()
	}
	return err
}

// countLetters keeps how many there are of a tenant: to count them whenever one is added would take as long as all the
// rest of a settlement.
func (t *tx) countLetters(tenant, more int64) (kept int64, err error) {
	if err := t.put("UPDATE tenants SET dead_letters = dead_letters + ? WHERE number = ?", more, tenant); err != nil {
		return 0, err
	}
	_, err = t.conn.first("SELECT dead_letters FROM tenants WHERE number = ?", args(tenant), func(r row) { kept = r.Int(0) })
	return kept, err
}

// dropOldest removes the oldest of the tenant's, of messages on sockets first: users make those, and lose nothing by it.
func (t *tx) dropOldest() error {
	var number int64
	var of domain.NotificationID
	found, err := t.conn.first(`SELECT number, notification FROM dead_letters WHERE number = coalesce(
		(SELECT min(number) FROM dead_letters WHERE tenant = ?1 AND lane = 'socket' AND room IS NOT NULL),
		min(coalesce((SELECT min(number) FROM dead_letters WHERE tenant = ?1 AND notification IS NULL), 9223372036854775807),
			coalesce((SELECT min(number) FROM dead_letters WHERE tenant = ?1 AND notification IS NOT NULL), 9223372036854775807)))`,
		args(t.tenant), func(r row) {
			number = r.Int(0)
			copy(of[:], r.Blob(1))
		})
	if err != nil || !found {
		return err
	}
	return t.removeLetter(number, of)
}

func (t *tx) removeLetter(number int64, of domain.NotificationID) error {
	if err := t.put("DELETE FROM dead_letters WHERE number = ? AND tenant = ?", number, t.tenant); err != nil {
		return err
	}
	t.waitsNoMore(of)
	_, err := t.countLetters(t.tenant, -1)
	return err
}

// GrowDeadLetter implements ports.OutboxWriter. A run that has grown is the newest letter.
func (t *tx) GrowDeadLetter(letter domain.DeadLetter) error {
	if err := t.ready(); err != nil {
		return err
	}
	before, number, err := t.letter(`tenant = ? AND user = ? AND room = ? AND lane = 'socket'`,
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
	letter, number, err := t.letter("tenant = ? AND id = ?", t.tenant, id[:])
	if err == nil {
		err = t.removeLetter(number, letter.Job.Notification)
	}
	if err != nil {
		return domain.DeadLetter{}, err
	}
	return letter, nil
}

// letter finds the only one of a condition.
func (t *tx) letter(where string, values ...driver.Value) (letter domain.DeadLetter, number int64, err error) {
	found, err := t.conn.first("SELECT "+letterColumns+" FROM dead_letters WHERE "+where, values, func(r row) { letter, number = sqlrows.ScanLetter(r) })
	if err == nil && !found {
		err = domain.ErrLetterNotFound
	}
	return letter, number, err
}
