// Package storetest is the contract suite of the store: what the comments in ports promise, as cases that every
// adapter passes. An adapter's test calls Run with a function that opens a fresh backend; there are no capability
// flags. A bug found in one adapter first becomes a case here.
//
// The suite brings its own clock and identifiers. The identifiers are scattered on purpose, so that nothing can come
// out in the right order by sorting them.
package storetest

import (
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// Backend is all that a store offers to the core, and the means to close and open it again.
type Backend interface {
	ports.Store
	ports.Appender
	ports.CommitLog
	ports.Tenants
	ports.TenantWriter
	ports.Purger
	ports.Meters
	ports.Outbox
	ports.Notifications
	ports.Keys
	ports.KeyWriter
	ports.Prober
	ports.EpochReader
	ports.Proofs
	// Reopen closes the backend and opens the same data again, as a restart of the server does. The old value stays
	// usable as far as a closed store is: it answers domain.ErrClosing.
	Reopen(t *testing.T) Backend
}

// contract is one promise; its name is a sentence.
type contract struct {
	name string
	test func(f *fixture)
}

// Clock is the time of day at which every case begins: it stands still. The suite's own times are within minutes of it,
// or far away on purpose.
var Clock ports.Clock = standingClock{}

type standingClock struct{}

func (standingClock) Now() time.Time {
	return time.Date(2026, time.January, 2, 3, 4, 5, 678e6, time.UTC)
}

// subjects are the chapters of the contract.
var subjects = []struct {
	name      string
	contracts []contract
}{
	{"Append", appendContracts},
	{"Rollback", rollbackContracts},
	{"Context", contextContracts},
	{"Commits", commitContracts},
	{"Views", viewContracts},
	{"Wall", wallContracts},
	{"Values", valueContracts},
	{"ClientID", clientIDContracts},
	{"Idempotency", idempotencyContracts},
	{"Rooms", roomContracts},
	{"RoomList", roomListContracts},
	{"Members", memberContracts},
	{"Removals", removalContracts},
	{"RoomChanges", roomChangeContracts},
	{"RemovedRooms", removedRoomContracts},
	{"Log", logContracts},
	{"MessageChanges", messageChangeContracts},
	{"Reading", readingContracts},
	{"Users", userContracts},
	{"Marks", markContracts},
	{"Devices", deviceContracts},
	{"Outbox", outboxContracts},
	{"Claims", claimContracts},
	{"Leases", leaseContracts},
	{"NotificationLane", inLane(domain.LaneNotification, claimContracts, leaseContracts)},
	{"BotLane", inLane(domain.LaneBot, claimContracts, leaseContracts)},
	{"OutboxTime", outboxTimeContracts},
	{"OutboxEnds", outboxEndContracts},
	{"Recipients", recipientContracts},
	{"DeadLetters", deadLetterContracts},
	{"DeadLetterLists", deadLetterListContracts},
	{"Notifications", notificationContracts},
	{"Expansions", expansionContracts},
	{"Subscriptions", subscriptionContracts},
	{"MarksOf", marksOfContracts},
	{"Bots", botContracts},
	{"Handoffs", handoffContracts},
	{"Runs", runContracts},
	{"Renewals", renewalContracts},
	{"Streams", streamContracts},
	{"Answers", answerContracts},
	{"RunRaces", runRaceContracts},
	{"Tenants", tenantContracts},
	{"Usage", usageContracts},
	{"Keys", keyContracts},
	{"Life", lifeContracts},
	{"Model", modelContracts},
	{"OutboxModel", outboxModelContracts},
}

// Run proves the contract on backends that open gives, which go by the times it is given. Every case gets a fresh,
// empty one; open closes it, or whatever Reopen made of it, in t.Cleanup.
func Run(t *testing.T, open func(t *testing.T, times *Times) Backend) {
	t.Helper()
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range s.contracts {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					times := &Times{}
					c.test(newFixture(t, open(t, times), times))
				})
			}
		})
	}
}
