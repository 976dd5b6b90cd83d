package postgres

import (
	"encoding/binary"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

const keptRequest = `SELECT request, status, resource FROM idempotency
	WHERE tenant = $1 AND user_id = $2 AND key = $3 AND created > $4`

// Idempotency implements ports.IdempotencyReader.
func (r *reader) Idempotency(user domain.UserID, key [32]byte, now time.Time) (*domain.IdempotencyRecord, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	return r.idempotency(user, key, now)
}

// Idempotency is that of a reader, but a unit of work waits for any other that goes by the same key, and has it wait: two nodes
// that are asked the same at once do it once.
func (t *tx) Idempotency(user domain.UserID, key [32]byte, now time.Time) (*domain.IdempotencyRecord, error) {
	if err := t.ready(); err != nil {
		return nil, err
	}
	return t.idempotency(user, key, now, step{query: lockKey, args: args(keyLock(t.tenant, user, key))})
}

// idempotency finds what is kept of a key after what is to be done before.
func (r *reader) idempotency(user domain.UserID, key [32]byte, now time.Time, before ...step) (
	record *domain.IdempotencyRecord, err error,
) {
	err = r.conn.together(append(before, step{
		query: keptRequest, args: args(r.tenant, string(user), key[:], now.Add(-domain.IdempotencyMemory).UnixMilli()),
		each: func(row row) error {
			record = &domain.IdempotencyRecord{Status: int(row.Int(1)), Resource: row.Text(2)}
			copy(record.Request[:], row.Blob(0))
			return nil
		},
	})...)
	return record, err
}

// lockKey takes the lock of an Idempotency-Key to the end of the unit of work, before it is looked up. Who needs several takes
// them in the order of their numbers.
const lockKey = "SELECT pg_advisory_xact_lock($1)"

// keyLock is the number of the lock of a key. Two keys that share one merely wait for each other.
func keyLock(tenant int64, user domain.UserID, key [32]byte) int64 {
	n := binary.BigEndian.Uint64(key[:]) ^ uint64(tenant)
	for _, b := range []byte(user) {
		n = (n ^ uint64(b)) * 0x100000001b3 // FNV-1a
	}
	return int64(n)
}

// KeepIdempotency implements ports.IdempotencyWriter.
func (t *tx) KeepIdempotency(key domain.Idempotency, status int, resource string, now time.Time) error {
	if err := t.ready(); err != nil {
		return err
	}
	return t.put(`INSERT INTO idempotency (tenant, user_id, key, request, status, resource, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, user_id, key) DO UPDATE SET request = excluded.request,
		status = excluded.status, resource = excluded.resource, created = excluded.created`,
		t.tenant, string(key.User), key.Key[:], key.Request[:], int64(status), resource, now.UnixMilli())
}

// sweep takes a step of removing what has expired and reports whether there may be more. It sees all tenants.
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
	n, err := t.remove(`DELETE FROM idempotency WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency WHERE created <= $1
		ORDER BY created LIMIT $2 FOR UPDATE SKIP LOCKED))`, now.Add(-domain.IdempotencyMemory-sqlrows.SweepMargin).UnixMilli(), int64(sqlrows.MaxSweep))
	return n == sqlrows.MaxSweep, err
}
