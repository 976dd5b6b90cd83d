package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
)

func TestAnOpenMayTakeLongerThanAFileInUseIsWaitedFor(t *testing.T) {
	t.Parallel()
	_, err := patiently(t.Context(), func(ctx context.Context) (*sqlite.Store, error) {
		if _, bounded := ctx.Deadline(); bounded {
			return nil, errors.New("the open has a deadline")
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAFileInUseIsWaitedForThatLongAndNoLonger(t *testing.T) {
	t.Parallel()
	for _, open := range []time.Duration{0, time.Second, lockPatience, 2 * lockPatience} {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			_, err := patiently(t.Context(), func(context.Context) (*sqlite.Store, error) {
				<-time.After(open)
				return nil, sqlite.ErrInUse
			})
			took := time.Since(begun)
			if !errors.Is(err, sqlite.ErrInUse) || took < lockPatience || took > lockPatience+open {
				t.Errorf("%v after %v, each look took %v", err, took, open)
			}
		})
	}
}

func TestASignalEndsAnOpenThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signal := context.WithCancel(t.Context())
		begun := time.Now()
		_, err := patiently(ctx, func(ctx context.Context) (*sqlite.Store, error) {
			signal() // while a large file is migrated
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if took := time.Since(begun); !errors.Is(err, context.Canceled) || took > 0 {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestASignalEndsTheWaitForAFileInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := patiently(ctx, func(context.Context) (*sqlite.Store, error) { return nil, sqlite.ErrInUse })
		if took := time.Since(begun); !errors.Is(err, sqlite.ErrInUse) || took > 2*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
