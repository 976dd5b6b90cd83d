package sqlite

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The extended result codes told apart here.
const (
	codeFsync    = sqlite3.SQLITE_IOERR_FSYNC
	codeDirFsync = sqlite3.SQLITE_IOERR_DIR_FSYNC
)

// codeOf is the extended result code of an error of SQLite, 0 of any other.
func codeOf(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// primary is the class of an extended code.
func primary(code int) int { return code & 0xff }

// isConstraint reports whether a statement was refused by a constraint: it alone had no effect.
func isConstraint(err error) bool { return primary(codeOf(err)) == sqlite3.SQLITE_CONSTRAINT }

// isUnique reports whether a statement was refused because a unique value exists already.
func isUnique(err error) bool { return codeOf(err) == sqlite3.SQLITE_CONSTRAINT_UNIQUE }

// isCheck reports whether a statement was refused by a CHECK of the schema.
func isCheck(err error) bool { return codeOf(err) == sqlite3.SQLITE_CONSTRAINT_CHECK }

// isFsync reports a failed fsync: the kernel may have marked the pages clean, so that the next one would succeed
// without the data being on the disk.
func isFsync(err error) bool { code := codeOf(err); return code == codeFsync || code == codeDirFsync }

// isIO reports any failure to read, write or sync a file.
func isIO(err error) bool { return primary(codeOf(err)) == sqlite3.SQLITE_IOERR }

// isEnvironment reports a failure of the disk, the file or the memory around SQLite, not of a statement: it passes,
// or an operator must act; nothing the client sent is at fault.
func isEnvironment(err error) bool {
	switch primary(codeOf(err)) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED,
		sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_INTERRUPT:
		return true
	}
	return false
}
