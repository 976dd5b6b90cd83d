// Package presencetest is the contract suite of ports.Presence: every adapter's test calls Run with a function that
// opens a fresh backend. There are no capability flags. The suite never measures time: a lease either lasts for far
// longer than a case runs, or the backend is asked to let it pass.
package presencetest

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/ports"
)

// Backend is what the nodes of a cluster share. A backend for one node returns the same value for all of them.
type Backend interface {
	// Node is the presence as one more node sees it; it is closed in t.Cleanup.
	Node(t *testing.T) ports.Presence
	// Pass returns when at least d has passed for leases: by waiting, or by setting a clock.
	Pass(d time.Duration)
}

// Open gives test a fresh backend, and closes it when test has returned. It may run test in a synctest bubble.
type Open func(t *testing.T, test func(t *testing.T, b Backend))

// The leases of the suite.
const (
	long  = time.Hour // outlasts every case
	short = 20 * time.Millisecond
)

var contracts = []struct {
	name string
	test func(t *testing.T, b Backend)
}{
	{"TheFirstSocketOnAnyNodeIsAnArrival", firstIsAnArrival},
	{"TheEndOfTheLastIsADeparture", lastIsADeparture},
	{"AStrangersLeaveIsNoDeparture", strangersLeave},
	{"AUserNamedTwiceIsToldOnce", namedTwice},
	{"NobodyIsToldOfNobody", nobody},
	{"ManyUsersInOneCall", manyUsers},
	{"OnlineAreThoseWithASocketAnywhere", online},
	{"TenantsDoNotSeeEachOther", tenantWall},
	{"NamesComeAsTheyWere", names},
	{"ALeaseThatPassesIsADeparture", leasePasses},
	{"ALeaseThatPassesEndsNoOther", leasePassesBesideAnother},
	{"ALeaveEndsAUserWhoseOtherLeasesHavePassed", leaveAfterPassed},
	{"ARenewalProlongs", renewalProlongs},
	{"ARenewalShortens", renewalShortens},
	{"ARenewalBeforeTheDepartureIsToldIsNoArrival", renewalInTime},
	{"ADeadNodesUsersLeaveOnAnother", deadNode},
	{"EveryAnswerIsTheModels", model},
	{"ParallelArrivalsAreToldOnce", parallelArrivals},
	{"ParallelDeparturesAreToldOnce", parallelDepartures},
	{"ParallelExpiriesAreToldOnce", parallelExpiries},
	{"ArrivalsAndDeparturesBalance", churn},
}

// Run proves the contract on backends that open gives.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, c := range contracts {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			open(t, c.test)
		})
	}
}
