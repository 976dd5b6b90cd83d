package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatapi/chatapi/application"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

type otherMethods = ports.Tenants // nil: nothing here calls them

// tenantsWith lists tenants that each have one origin, and counts how often it is read.
type tenantsWith struct {
	otherMethods
	origins []string
	reads   int
	fault   error
}

func (s *tenantsWith) Tenants(_ context.Context, offset, limit int) ([]domain.Tenant, error) {
	if offset == 0 {
		s.reads++
	}
	if s.fault != nil {
		return nil, s.fault
	}
	var page []domain.Tenant
	for _, origin := range s.origins[min(offset, len(s.origins)):min(offset+limit, len(s.origins))] {
		page = append(page, domain.Tenant{Config: domain.TenantConfig{AllowedOrigins: []string{origin}}})
	}
	return page, nil
}

func newTestOrigins(s *tenantsWith) *tenantOrigins {
	return newTenantOrigins(application.NewTenancy(s, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil), slog.New(slog.DiscardHandler))
}

func TestUnknownOriginsCostOneReadingInHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsWith{origins: []string{"https://a.example"}}
		o := newTestOrigins(s)
		for reading := 1; reading <= 3; reading++ {
			for n := range 30 {
				if o.of(t.Context(), fmt.Sprintf("https://evil%d.example", n)).listed {
					t.Fatal("an unknown origin is listed")
				}
				time.Sleep(originMemory / 30)
			}
			if s.reads != reading {
				t.Errorf("%d readings after %s, want %d", s.reads, time.Duration(reading)*originMemory, reading)
			}
		}
	})
}

func TestAReadingThatFailsOrThatNobodyWaitsForCountsAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsWith{origins: []string{"https://a.example"}}
		o := newTestOrigins(s)
		gone, leave := context.WithCancel(t.Context())
		leave()
		for range 100 {
			o.of(gone, "https://evil.example") // may be told nothing, but its reading is done and kept
		}
		o.of(t.Context(), "https://evil.example")
		if s.reads != 1 {
			t.Errorf("%d readings for clients that left, want 1", s.reads)
		}
		s.fault = errors.New("the disk is gone")
		time.Sleep(originMemory)
		for range 100 {
			if !o.of(t.Context(), "https://a.example").listed {
				t.Fatal("what was known is forgotten after a failed reading")
			}
		}
		if s.reads != 2 {
			t.Errorf("%d readings with the failed one, want 2", s.reads)
		}
	})
}

func TestAChangeIsSeenByTheNextPreflightAndOthersWithinHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsWith{origins: []string{"https://a.example"}}
		o := newTestOrigins(s)
		o.of(t.Context(), "https://b.example")
		s.origins = []string{"https://b.example"}
		o.changed()
		if !o.of(t.Context(), "https://b.example").listed || o.of(t.Context(), "https://a.example").listed {
			t.Error("the change is not seen at once")
		}
		s.origins = nil
		time.Sleep(originMemory)
		if o.of(t.Context(), "https://b.example").listed {
			t.Error("the removed origin is still listed")
		}
	})
}

func TestOriginsOfAllPagesOfTenantsAreKnown(t *testing.T) {
	t.Parallel()
	s := &tenantsWith{origins: make([]string, 1200)}
	s.origins[1199] = "https://last.example"
	if !newTestOrigins(s).of(t.Context(), "https://last.example").listed {
		t.Error("the last tenant's origin is not known")
	}
}
