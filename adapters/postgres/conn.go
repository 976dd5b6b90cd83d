package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// conn is one connection in the hands of one unit of work.
type conn struct {
	pg  *pgx.Conn
	ctx context.Context // never a request's own
	end time.Time       // of the work: each exchange has exchangeLimit until then; zero leaves the connection's limit as it is
	// trouble is the first error of a statement since the last savepoint: Postgres has given the transaction up to there, so an
	// error that a closure swallows must still keep it from being committed.
	trouble error
}

// hasten cuts the connection when the server does not answer in time what is asked now.
func (c *conn) hasten() {
	if c.end.IsZero() {
		return
	}
	until := time.Now().Add(exchangeLimit)
	if c.end.Before(until) {
		until = c.end
	}
	_ = c.pg.PgConn().Conn().SetDeadline(until) // one that is dead shows at once
}

// row is one row of a result in Postgres's binary format, valid until the next. An accessor of a NULL column returns the
// zero value.
type row [][]byte

// Int is a whole number of any width, or a boolean as 0 and 1.
func (r row) Int(i int) int64 {
	switch v := r[i]; len(v) {
	case 8:
		return int64(binary.BigEndian.Uint64(v))
	case 4:
		return int64(int32(binary.BigEndian.Uint32(v)))
	case 2:
		return int64(int16(binary.BigEndian.Uint16(v)))
	case 1:
		return int64(v[0])
	}
	return 0
}

func (r row) Float(i int) float64 {
	if len(r[i]) != 8 {
		return 0
	}
	return math.Float64frombits(binary.BigEndian.Uint64(r[i]))
}

func (r row) Text(i int) string { return string(r[i]) }

// Blob is the bytes of a bytea or a uuid. They are the connection's: copy what is kept.
func (r row) Blob(i int) []byte { return r[i] }

// Bytes is a copy of Blob, to be kept.
func (r row) Bytes(i int) []byte { return bytes.Clone(r[i]) }

func (r row) Null(i int) bool { return r[i] == nil }

// errTextFormat is a result column that row cannot read.
var errTextFormat = errors.New("postgres: a column came as text")

// background is the context of every statement: a request that ends must not cut off work that has begun. The connection
// itself has a deadline.
var background = context.Background()

// step is a statement of several that are sent at once.
type step struct {
	query string
	args  []any
	each  func(row) error         // nil: its rows are of no interest
	done  func(pgconn.CommandTag) // of a statement without each
}

// together runs statements in one exchange with the server, in their order; after one that fails none is run. In a
// transaction each has a snapshot of its own, like statements that are sent one by one. each must not run a statement on
// the connection.
func (c *conn) together(steps ...step) error {
	if len(steps) == 0 {
		return nil
	}
	batch := &pgx.Batch{}
	for _, s := range steps {
		batch.Queue(s.query, s.args...)
	}
	c.hasten()
	results := c.pg.SendBatch(c.ctx, batch)
	var failed error
	for _, s := range steps {
		if failed = c.take(results, s); failed != nil {
			break
		}
	}
	if err := results.Close(); failed == nil {
		failed = c.note(err)
	}
	return failed
}

func (c *conn) take(results pgx.BatchResults, s step) error {
	if s.each == nil {
		tag, err := results.Exec()
		if err == nil && s.done != nil {
			s.done(tag)
		}
		return c.note(err)
	}
	rows, err := results.Query()
	if err != nil {
		return c.note(err)
	}
	return c.walk(rows, s.each)
}

// query calls each for every row. each must not run a statement on the connection.
func (c *conn) query(query string, args []any, each func(row) error) error {
	c.hasten()
	rows, err := c.pg.Query(c.ctx, query, args...)
	if err != nil {
		return c.note(err)
	}
	return c.walk(rows, each)
}

func (c *conn) walk(rows pgx.Rows, each func(row) error) error {
	defer rows.Close()
	for _, column := range rows.FieldDescriptions() {
		if column.Format != pgtype.BinaryFormatCode && column.DataTypeOID != pgtype.TextOID {
			return fmt.Errorf("%w: %s", errTextFormat, column.Name)
		}
	}
	for rows.Next() {
		if err := each(rows.RawValues()); err != nil {
			return err
		}
	}
	rows.Close()
	return c.note(rows.Err())
}

// first calls scan for the first row and reports whether there was one.
func (c *conn) first(query string, args []any, scan func(row)) (found bool, err error) {
	err = c.query(query, args, func(r row) error {
		scan(r)
		found = true
		return io.EOF
	})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return found, err
}

// exec runs a statement to its end and tells how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	c.hasten()
	tag, err := c.pg.Exec(c.ctx, query, args...)
	return tag.RowsAffected(), c.note(err)
}

// run is exec for its error alone.
func (c *conn) run(query string, args ...any) error {
	_, err := c.exec(query, args...)
	return err
}

func (c *conn) note(err error) error {
	if err != nil && c.trouble == nil {
		c.trouble = err
	}
	return err
}

// args builds the arguments of query and first.
func args(values ...any) []any { return values }
