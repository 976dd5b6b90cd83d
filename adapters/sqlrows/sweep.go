package sqlrows

import (
	"time"

	"github.com/chatapi/chatapi/domain"
)

// MaxSweep is how many rows one step of any purge removes, so that it never holds up others for long.
const MaxSweep = 500

// MaxLeavers is how many memberships are ended together. A run of them is begun only when the allowance of a step does for
// all of it: two rows of each, and the room's.
const (
	MaxLeavers = MaxSweep / 4
	ForLeavers = 2*MaxLeavers + 1
)

// ForLetter is what a dead letter takes of the allowance: its row, the tenant's, and the notification that it held.
const ForLetter = 3

// SweepMargin is how much longer than promised an expired Idempotency-Key stays: a clock that runs ahead by less, and is
// set right, takes no key away that is still good. Reads go by the promise.
const SweepMargin = time.Hour

// UnseenSince is the time since which a device must not have been seen to be forgotten.
func UnseenSince(now time.Time) int64 {
	return now.Add(-domain.DeviceMemory * time.Hour).UnixMilli()
}
