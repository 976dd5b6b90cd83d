package postgres

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatapi/chatapi/domain"
)

// codeOf is the SQLSTATE of an error of the server, empty of any other.
func codeOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// isRetryable reports a transaction that lost against another and may succeed when it is run again: a serialization
// failure, or a deadlock.
func isRetryable(err error) bool { code := codeOf(err); return code == "40001" || code == "40P01" }

// lockNotAvailable is a lock that was not to be had in time.
const lockNotAvailable = "55P03"

// undefinedTable is a table that there is not.
const undefinedTable = "42P01"

// isLost reports that the connection is gone, or the server is going or has not come yet: nothing is known of what was sent
// last.
func isLost(err error) bool {
	if err == nil {
		return false
	}
	switch code := codeOf(err); {
	case code == "57P01", code == "57P02", code == "57P03", len(code) == 5 && code[:2] == "08":
		return true
	case code != "":
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.DeadlineExceeded) || pgconn.SafeToRetry(err)
}

// isEnvironment reports a failure of the server or the way there, not of a statement: it passes, or an operator must act;
// nothing the client sent is at fault.
func isEnvironment(err error) bool {
	if err == nil {
		return false
	}
	code := codeOf(err)
	if len(code) != 5 {
		return isLost(err)
	}
	switch code[:2] {
	case "08", // connection
		"28", // authorization: a password that was changed
		"3D", // the database is gone
		"40", // a rollback that repeating has not helped
		"53", // resources: disk full, memory, too many connections
		"55", // a lock that was not to be had
		"57", // an operator's intervention, timeouts too
		"58", // I/O
		"F0", "XX":
		return true
	}
	return code == "25006" || code == "25P02" || code == "25P03" // read-only; aborted; idle for too long
}

// translate answers domain.ErrUnavailable for failures of the store's surroundings, whose detail is the operator's
// business and goes to the log; other errors, the domain's too, come back as they are.
func (s *Store) translate(err error) error {
	if !isEnvironment(err) {
		return err
	}
	s.ail(err)
	return domain.ErrUnavailable
}
