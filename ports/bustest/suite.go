// Package bustest is the contract suite of ports.Bus: every adapter's test calls Run with a function that opens a
// fresh bus. There are no capability flags. The suite waits for signals and never assumes that Publish has delivered
// when it returns: on many nodes it has not.
package bustest

import (
	"testing"

	"github.com/chatapi/chatapi/ports"
)

var contracts = []struct {
	name string
	test func(t *testing.T, bus ports.Bus)
}{
	{"ASignalReachesEverySubscriptionOfItsChannel", reachesEverySubscription},
	{"ASignalReachesNoOtherChannel", reachesNoOtherChannel},
	{"PublishingToNobodySucceeds", publishingToNobody},
	{"PayloadsComeAsTheyWere", payloadsComeAsTheyWere},
	{"SignalsOfOnePublisherComeInOrder", comeInOrder},
	{"CallsOfOneSubscriptionDoNotOverlap", callsDoNotOverlap},
	{"NothingComesAfterCancelReturned", nothingAfterCancel},
	{"CancelLeavesTheOthers", cancelLeavesOthers},
	{"CancelTwiceIsHarmless", cancelTwice},
	{"SubscribingBesidePublishersIsSafe", subscribingBesidePublishers},
}

// Run proves the contract on buses that open gives; open closes them in t.Cleanup.
func Run(t *testing.T, open func(testing.TB) ports.Bus) {
	t.Helper()
	for _, c := range contracts {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}
