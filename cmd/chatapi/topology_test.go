package main

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestASignalEndsAnOpenThatWaits(t *testing.T) {
	t.Parallel()
	ctx, signal := context.WithCancel(t.Context())
	begun := time.Now()
	_, err := patiently(ctx, errors.ErrUnsupported, func(ctx context.Context) (struct{}, error) {
		signal() // while another node is at the migrations
		select {
		case <-ctx.Done():
			return struct{}{}, ctx.Err()
		case <-time.After(time.Minute):
			return struct{}{}, nil
		}
	})
	if took := time.Since(begun); !errors.Is(err, context.Canceled) || took > lockPatience {
		t.Errorf("%v after %v", err, took)
	}
}

func TestAnOpenMayTakeLongerThanAStoreInUseIsWaitedFor(t *testing.T) {
	t.Parallel()
	_, err := patiently(t.Context(), errors.ErrUnsupported, func(ctx context.Context) (struct{}, error) {
		if _, bounded := ctx.Deadline(); bounded {
			return struct{}{}, errors.New("the open has a deadline")
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Error(err)
	}
}
