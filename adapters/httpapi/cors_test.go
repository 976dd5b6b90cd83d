package httpapi

import (
	"context"
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
}

func (s *tenantsWith) Tenants(_ context.Context, offset, limit int) ([]domain.Tenant, error) {
	if offset == 0 {
		s.reads++
	}
	var page []domain.Tenant
	for _, origin := range s.origins[min(offset, len(s.origins)):min(offset+limit, len(s.origins))] {
		page = append(page, domain.Tenant{Config: domain.TenantConfig{AllowedOrigins: []string{origin}}})
	}
	return page, nil
}

func newTestOrigins(s *tenantsWith) *tenantOrigins {
	return newTenantOrigins(application.NewTenancy(s, nil, nil, nil, nil, nil, nil, nil), slog.New(slog.DiscardHandler))
}

func TestUnknownOriginsCostOneReadingASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsWith{origins: []string{"https://a.example"}}
		o := newTestOrigins(s)
		for second := 1; second <= 3; second++ {
			for range 100 {
				if o.of(t.Context(), "https://evil.example").listed {
					t.Fatal("an unknown origin is listed")
				}
			}
			if s.reads != second {
				t.Errorf("%d readings in second %d, want one a second", s.reads, second)
			}
			time.Sleep(unknownOriginMemory)
		}
	})
}

func TestANewOriginIsSeenWithinASecondAndARemovedOneForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tenantsWith{origins: []string{"https://a.example"}}
		o := newTestOrigins(s)
		o.of(t.Context(), "https://b.example")
		s.origins = []string{"https://b.example"}
		time.Sleep(unknownOriginMemory)
		if !o.of(t.Context(), "https://b.example").listed {
			t.Error("the new origin is not seen")
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
