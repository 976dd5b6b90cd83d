package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"modernc.org/sqlite"
)

// conn is one connection to the file with its prepared statements. It is used by one goroutine at a time. It calls
// the driver directly: database/sql costs a quarter more CPU and would hand the writer's connection to anybody.
type conn struct {
	db    driver.Conn
	stmts map[string]*statement
	args  []driver.NamedValue
	// trouble is the first error of SQLite that was no constraint's, until its reader clears it: an error that a
	// closure swallows must still keep its job from being committed.
	trouble error
}

type statement struct {
	driver.Stmt
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	row   row
}

// row is one row of a result, valid until the next. An accessor of a NULL column returns the zero value.
type row []driver.Value

func (r row) Int(i int) int64     { v, _ := r[i].(int64); return v }
func (r row) Text(i int) string   { v, _ := r[i].(string); return v }
func (r row) Blob(i int) []byte   { v, _ := r[i].([]byte); return v }
func (r row) Float(i int) float64 { v, _ := r[i].(float64); return v }
func (r row) Null(i int) bool     { return r[i] == nil }

// Bytes is Blob: the driver has made it for this row.
func (r row) Bytes(i int) []byte { return r.Blob(i) }

// background is the context of every statement: SQLite would interrupt a statement when a request's context ends, and
// on the writer that would roll back its neighbours.
var background = context.Background()

// openConn opens the database of path with nothing set yet.
func openConn(path string) (*conn, error) {
	db, err := (&sqlite.Driver{}).Open(uri(path))
	if err != nil {
		return nil, err
	}
	return &conn{db: db, stmts: map[string]*statement{}}, nil
}

// prepare keeps statements by their text. A bare "LIMIT ?" would have SQLite parse and plan the statement anew at every
// run, since it plans with the value: the queries here say "LIMIT 0 + ?".
func (c *conn) prepare(query string) (*statement, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	prepared, err := c.db.Prepare(query)
	if err != nil {
		return nil, c.note(err)
	}
	s := &statement{Stmt: prepared}
	var canExec, canQuery bool
	s.exec, canExec = prepared.(driver.StmtExecContext)
	s.query, canQuery = prepared.(driver.StmtQueryContext)
	if !canExec || !canQuery {
		return nil, errors.Join(errors.New("sqlite: the driver's statements lack a context"), prepared.Close())
	}
	c.stmts[query] = s
	return s, nil
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, v := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args
}

// exec runs a statement to its end.
func (c *conn) exec(query string, args ...driver.Value) (driver.Result, error) {
	s, err := c.prepare(query)
	if err != nil {
		return nil, err
	}
	result, err := s.exec.ExecContext(background, c.bind(args))
	return result, c.note(err)
}

func (c *conn) note(err error) error {
	if err != nil && c.trouble == nil && codeOf(err) != 0 && !isConstraint(err) {
		c.trouble = err
	}
	return err
}

// run is exec for its error alone.
func (c *conn) run(query string, args ...driver.Value) error {
	_, err := c.exec(query, args...)
	return err
}

// query calls each for every row. each must not run the same statement.
func (c *conn) query(query string, args []driver.Value, each func(row) error) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.query.QueryContext(background, c.bind(args))
	if err != nil {
		return c.note(err)
	}
	if s.row == nil {
		s.row = make(row, len(rows.Columns()))
	}
	err = c.walk(rows, s.row, each)
	if closeErr := rows.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (c *conn) walk(rows driver.Rows, into row, each func(row) error) error {
	for {
		err := rows.Next(into)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.note(err)
		}
		if err := each(into); err != nil {
			return err
		}
	}
}

// first calls scan for the first row and reports whether there was one.
func (c *conn) first(query string, args []driver.Value, scan func(row)) (found bool, err error) {
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

// inTransaction asks SQLite whether a transaction is still open: some errors roll the whole of it back unasked. A
// second BEGIN is refused exactly then.
func (c *conn) inTransaction() bool {
	before := c.trouble
	defer func() { c.trouble = before }()
	if err := c.run("BEGIN"); err != nil {
		return true
	}
	return c.run("ROLLBACK") != nil
}

// written is how many pages the connection has written so far: in WAL mode, frames.
func (c *conn) written() (int, error) {
	status, ok := c.db.(sqlite.DBStatus)
	if !ok {
		return 0, errors.New("sqlite: the driver does not count pages")
	}
	n, _, err := status.Status(sqlite.DBStatusCacheWrite, true)
	return n, err
}

func (c *conn) close() error {
	var failed []error
	for query, s := range c.stmts {
		if err := s.Close(); err != nil {
			failed = append(failed, fmt.Errorf("close %q: %w", query, err))
		}
	}
	clear(c.stmts)
	return errors.Join(append(failed, c.db.Close())...)
}

// args builds the arguments of query and first.
func args(values ...driver.Value) []driver.Value { return values }
