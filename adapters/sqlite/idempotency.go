package sqlite

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// Idempotency implements ports.IdempotencyReader.
func (r *reader) Idempotency(user domain.UserID, key [32]byte, now time.Time) (*domain.IdempotencyRecord, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	var record *domain.IdempotencyRecord
	_, err := r.conn.first(`SELECT request, status, resource FROM idempotency
		WHERE tenant = ? AND user = ? AND key = ? AND created > ?`,
		args(r.tenant, string(user), key[:], now.Add(-domain.IdempotencyMemory).UnixMilli()), func(row row) {
			record = &domain.IdempotencyRecord{Status: int(row.Int(1)), Resource: row.Text(2)}
			copy(record.Request[:], row.Blob(0))
		})
	return record, err
}

// KeepIdempotency implements ports.IdempotencyWriter.
func (t *tx) KeepIdempotency(key domain.Idempotency, status int, resource string, now time.Time) error {
	if err := t.ready(); err != nil {
		return err
	}
	return t.put(`INSERT OR REPLACE INTO idempotency (tenant, user, key, request, status, resource, created)
		VALUES (?, ?, ?, ?, ?, ?, ?)`,
		t.tenant, string(key.User), key.Key[:], key.Request[:], int64(status), resource, now.UnixMilli())
}

// sweep takes a step of removing what has expired and reports whether there may be more.
func (t *tx) sweep(now time.Time) (more bool, err error) {
	keys, err := t.sweepIdempotency(now)
	if err != nil {
		return false, err
	}
	devices, err := t.sweepDevices(now)
	return keys || devices, err
}

// sweepIdempotency removes keys that expired an hour ago, and reports whether there may be more.
func (t *tx) sweepIdempotency(now time.Time) (more bool, err error) {
	n, err := t.remove(`DELETE FROM idempotency WHERE (tenant, user, key) IN
		(SELECT tenant, user, key FROM idempotency WHERE created <= ? LIMIT 0 + ?)`,
		now.Add(-domain.IdempotencyMemory-sqlrows.SweepMargin).UnixMilli(), int64(sqlrows.MaxSweep))
	return n == sqlrows.MaxSweep, err
}
