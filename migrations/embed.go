// Package migrations holds the schema of each SQL store as numbered steps, embedded in the binary. A step that was
// released is never edited: a change is a new step. Each dialect has the same numbers and names.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// SQLite returns the steps of the SQLite schema, named NNNNN_name.sql in goose's format.
func SQLite() fs.FS { return steps("sqlite") }

// Postgres returns the steps of the Postgres schema, named like those of SQLite.
func Postgres() fs.FS { return steps("postgres") }

func steps(dialect string) fs.FS {
	sub, err := fs.Sub(files, dialect)
	if err != nil {
		panic(err) // the directory is embedded above: only a broken build gets here
	}
	return sub
}
