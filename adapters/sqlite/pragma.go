package sqlite

import (
	"fmt"
	"maps"
	"slices"
)

// pragmas are settings and the value that reading each back must give.
type pragmas map[string]any

const (
	mmapSize         = 256 << 20
	journalSizeLimit = 64 << 20
	syncFull         = 2
)

// every connection's settings. SQLite's own checkpoints are off: they would swallow a failed fsync.
func commonPragmas(unsafe bool) pragmas {
	p := pragmas{
		"journal_mode":         "wal",
		"synchronous":          int64(syncFull),
		"busy_timeout":         int64(5000), // milliseconds; only a stranger to the writer's own queue is ever waited for
		"foreign_keys":         int64(1),
		"temp_store":           int64(2), // memory
		"journal_size_limit":   int64(journalSizeLimit),
		"wal_autocheckpoint":   int64(0),
		"trusted_schema":       int64(0),
		"fullfsync":            int64(1), // on macOS fsync alone leaves data in the drive's cache
		"checkpoint_fullfsync": int64(1),
	}
	if unsafe {
		p["synchronous"] = int64(0)
	}
	return p
}

func writerPragmas(unsafe bool) pragmas {
	p := commonPragmas(unsafe)
	p["cache_size"] = int64(-16384) // KiB
	// What is edited, deleted or purged is overwritten, pages that become free too. One thing keeps what it held until it
	// is used again: the unused part of a page that was split in the middle.
	p["secure_delete"] = int64(1)
	return p
}

func readerPragmas(unsafe bool) pragmas {
	p := commonPragmas(unsafe)
	p["cache_size"] = int64(-4096)
	p["mmap_size"] = int64(mmapSize)
	p["query_only"] = int64(1)
	return p
}

// set applies the settings in order of name, but query_only, which refuses later ones, last.
func (p pragmas) set(c *conn) error {
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if name == "query_only" {
			continue
		}
		if err := c.pragma(name, p[name]); err != nil {
			return err
		}
	}
	if value, ok := p["query_only"]; ok {
		return c.pragma("query_only", value)
	}
	return nil
}

func (c *conn) pragma(name string, value any) error {
	_, err := c.first(fmt.Sprintf("PRAGMA %s = %v", name, value), nil, func(row) {})
	if err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// verify reads every setting back. SQLite takes a pragma that it does not know, or cannot honour, in silence.
func (p pragmas) verify(c *conn) error {
	for _, name := range slices.Sorted(maps.Keys(p)) {
		var got any
		if _, err := c.first("PRAGMA "+name, nil, func(r row) { got = r[0] }); err != nil {
			return fmt.Errorf("read %s back: %w", name, err)
		}
		if want := p[name]; got != want {
			return fmt.Errorf("sqlite: pragma %s is %v and not %v: the store cannot keep its promises here", name, got, want)
		}
	}
	return nil
}

// openWith opens a connection with these settings, or refuses it.
func openWith(path string, p pragmas) (*conn, error) {
	c, err := openConn(path)
	if err != nil {
		return nil, err
	}
	if err = p.set(c); err == nil {
		err = p.verify(c)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}
