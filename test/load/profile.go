package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/chatapi/chatapi/test/harness"
)

// profileFor writes a CPU profile of the server over the given time, when profiles are asked for. Profiles are numbered
// in the order of the windows.
func (b *bench) profileFor(s *harness.Server, span time.Duration) error {
	if b.profile == "" {
		return nil
	}
	path := fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, int(span.Seconds())))
	res, err := s.AdminClient().Do(context.Background(), http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if res.Status != http.StatusOK {
		return fmt.Errorf("the profile was answered %d: %.200s", res.Status, res.Body)
	}
	b.profiles++
	return os.WriteFile(filepath.Join(b.profile, fmt.Sprintf("%02d-%s.pprof", b.profiles, b.running)), res.Body, 0o644)
}

// some joins the first few errors: thousands of clients fail alike.
func some(errs []error) error {
	const enough = 3
	var first []error
	failed := 0
	for _, err := range errs {
		if err == nil {
			continue
		}
		if failed++; failed <= enough {
			first = append(first, err)
		}
	}
	if failed > enough {
		first = append(first, fmt.Errorf("and %d more", failed-enough))
	}
	return errors.Join(first...)
}
