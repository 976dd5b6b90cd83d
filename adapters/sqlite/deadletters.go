package sqlite

import "github.com/chatapi/chatapi/domain"

const letterColumns = jobColumns + ", id, job, job_attempts, user, from_seq, to_seq, attempts, last_attempt, error, number"

// scanLetter reads letterColumns. The times of dead letters are those of the day.
func scanLetter(r row) (letter domain.DeadLetter, number int64) {
	letter.Job = scanJob(r, 0)
	rest := r[jobWidth:]
	copy(letter.ID[:], rest.blob(0))
	copy(letter.Job.ID[:], rest.blob(1))
	letter.Job.Attempts = int(rest.int(2))
	letter.User = domain.UserID(rest.text(3))
	letter.FromSeq, letter.ToSeq, letter.Attempts = rest.int(4), rest.int(5), int(rest.int(6))
	letter.LastAttemptAt, letter.Error = rest.time(7), rest.text(8)
	return letter, rest.int(9)
}

// DeadLetters implements ports.DeadLetterReader.
func (r *reader) DeadLetters(limit int) ([]domain.DeadLetter, error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	var letters []domain.DeadLetter
	err := r.conn.query("SELECT "+letterColumns+" FROM dead_letters WHERE tenant = ? ORDER BY number DESC LIMIT 0 + ?",
		args(r.tenant, int64(limit)), func(row row) error {
			letter, _ := scanLetter(row)
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
	job := letter.Job
	return t.put(`INSERT INTO dead_letters (tenant, id, job, event, lane, room, message, created, due, step, after, through,
		job_attempts, once, user, from_seq, to_seq, attempts, last_attempt, error)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.tenant, letter.ID[:], job.ID[:], job.Event[:], string(job.Lane), job.Room[:], job.Message[:], millis(job.CreatedAt),
		millis(job.Due), int64(job.Step), job.From, job.Through, int64(job.Attempts), boolNumber(job.Once),
		textOrNull(string(letter.User)), letter.FromSeq, letter.ToSeq, int64(letter.Attempts), timeOrNull(letter.LastAttemptAt),
		letter.Error)
}

// TakeDeadLetter implements ports.OutboxWriter.
func (t *tx) TakeDeadLetter(id domain.DeadLetterID) (letter domain.DeadLetter, err error) {
	if err := t.ready(); err != nil {
		return domain.DeadLetter{}, err
	}
	var number int64
	found, err := t.conn.first("SELECT "+letterColumns+" FROM dead_letters WHERE tenant = ? AND id = ?", args(t.tenant, id[:]),
		func(r row) { letter, number = scanLetter(r) })
	if err == nil && !found {
		err = domain.ErrLetterNotFound
	}
	if err == nil {
		err = t.put("DELETE FROM dead_letters WHERE number = ? AND tenant = ?", number, t.tenant)
	}
	if err != nil {
		return domain.DeadLetter{}, err
	}
	return letter, nil
}
