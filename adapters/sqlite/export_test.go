package sqlite

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The limits, for tests that reach them.
const (
	MaxBatch  = maxBatch
	MaxQueued = maxQueued
	MaxTenant = maxTenant
)

// OnWriter runs fn as a job of its own, with the writer's connection.
func (s *Store) OnWriter(ctx context.Context, fn func(exec func(string) error) error) error {
	return s.submit(ctx, operator, func(t *tx) error {
		return fn(func(query string) error { return t.put(query) })
	})
}

// RunOnWriter is OnWriter without a savepoint.
func (s *Store) RunOnWriter(ctx context.Context, fn func(exec func(string) error) error) error {
	return s.submit(ctx, operator, func(t *tx) error {
		return fn(func(query string) error {
			_, err := t.conn.first(query, nil, func(row) {})
			return err
		})
	})
}

// VerifyPragmas opens the file, runs the statements and checks what a reader or the writer must find.
func VerifyPragmas(path string, reader bool, statements ...string) error {
	p := writerPragmas(false)
	if reader {
		p = readerPragmas(false)
	}
	c, err := openWith(path, p)
	if err != nil {
		return err
	}
	defer c.close()
	for _, s := range statements {
		if _, err := c.first(s, nil, func(row) {}); err != nil {
			return err
		}
	}
	return p.verify(c)
}

// VerifyAllPragmas checks every connection of the store as it is in use.
func (s *Store) VerifyAllPragmas(ctx context.Context) error {
	for range cap(s.readers.free) {
		c := <-s.readers.free
		defer func() { s.readers.free <- c }()
		if err := readerPragmas(false).verify(c); err != nil {
			return err
		}
	}
	return s.submit(ctx, operator, func(t *tx) error { return writerPragmas(false).verify(t.conn) })
}

// Plans returns the plan of every statement that the store has prepared so far.
func (s *Store) Plans(ctx context.Context) (map[string][]string, error) {
	queries := map[string]bool{}
	for range cap(s.readers.free) {
		c := <-s.readers.free
		defer func() { s.readers.free <- c }()
		for query := range c.stmts {
			queries[query] = true
		}
	}
	plans := map[string][]string{}
	err := s.submit(ctx, operator, func(t *tx) error {
		for query := range t.conn.stmts {
			queries[query] = true
		}
		for _, query := range slices.Sorted(maps.Keys(queries)) {
			verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
			if !slices.Contains([]string{"WITH", "SELECT", "INSERT", "UPDATE", "DELETE"}, verb) {
				continue
			}
			values := make([]any, strings.Count(query, "?"))
			plan, err := t.plan(query, len(values))
			if err != nil {
				return fmt.Errorf("%s: %w", query, err)
			}
			plans[query] = plan
		}
		return nil
	})
	return plans, err
}

func (t *tx) plan(query string, parameters int) (plan []string, err error) {
	values := args()
	for range parameters {
		values = append(values, nil)
	}
	err = t.conn.query("EXPLAIN QUERY PLAN "+query, values, func(r row) error {
		plan = append(plan, r.Text(3))
		return nil
	})
	return plan, err
}

// Count runs a query for one number.
func (s *Store) Count(ctx context.Context, query string) (n int64, err error) {
	err = s.submit(ctx, operator, func(t *tx) error {
		_, err := t.conn.first(query, nil, func(r row) { n = r.Int(0) })
		return err
	})
	return n, err
}

// DueSweep makes the writer sweep expired rows next.
func (s *Store) DueSweep(ctx context.Context) error {
	return s.submit(ctx, operator, func(t *tx) error {
		t.w.swept = time.Time{}
		return nil
	})
}

// CachedBytes is the bound of what rooms' texts take in the writer's memory.
const CachedBytes = cachedBytes

// CachedRooms is how many rooms the writer remembers, and what their texts take: as counted, and as they are.
func (s *Store) CachedRooms(ctx context.Context) (rooms, counted, bytes int, err error) {
	err = s.submit(ctx, operator, func(t *tx) error {
		c := t.w.cache.rooms
		rooms, counted = c.committed.Len(), *c.weight
		for _, r := range c.committed.Values() {
			bytes += r.weight()
		}
		return nil
	})
	return rooms, counted, bytes, err
}

// CheckpointFrames is how many pages are written before the writer checkpoints.
const CheckpointFrames = checkpointFrames

// Sweep runs one step of removing what has expired.
func (s *Store) Sweep(ctx context.Context) (more bool, err error) {
	err = s.submit(ctx, operator, func(t *tx) (err error) {
		more, err = t.sweep(s.cfg.Clock.Now())
		return err
	})
	return more, err
}
