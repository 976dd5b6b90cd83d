package sqlrows

import "github.com/chatapi/chatapi/domain"

// GrownLetter is a dead letter that covers the run of another one too, which was given up after it.
func GrownLetter(before, now domain.DeadLetter) domain.DeadLetter {
	both := before
	both.FromSeq, both.ToSeq = min(before.FromSeq, now.FromSeq), max(before.ToSeq, now.ToSeq)
	both.Attempts, both.Error = now.Attempts, now.Error
	if now.LastAttemptAt.After(before.LastAttemptAt) {
		both.LastAttemptAt = now.LastAttemptAt
	}
	if now.At.After(before.At) {
		both.At = now.At
	}
	return both
}
