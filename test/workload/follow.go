package workload

import (
	"context"
	"time"

	"github.com/chatapi/chatapi/test/checker"
	"github.com/chatapi/chatapi/test/harness"
)

// retryAfter is the pause of a client that was turned away.
const retryAfter = 20 * time.Millisecond

// Keep has a connected follower come back whenever its socket ends, until ctx ends; then it is cut off. It returns how often
// the follower came back.
func Keep(ctx context.Context, f *harness.Follower) (returns int) {
	defer f.Drop()
	for {
		select {
		case <-ctx.Done():
			return returns
		case <-f.Conn().Finished():
		}
		if !comeBack(ctx, f) {
			return returns
		}
		returns++
	}
}

// comeBack tries until the follower has a socket, or ctx ends.
func comeBack(ctx context.Context, f *harness.Follower) bool {
	for f.Open() != nil {
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Poll reads what is new in rooms, as one user, again and again until ctx ends, and records each page; what is not answered is
// no observation.
func Poll(ctx context.Context, rec *Recorder, u *harness.User, rooms []string, every time.Duration) {
	const limit = 100
	last := map[string]int64{}
	for ctx.Err() == nil {
		for _, room := range rooms {
			invoked := rec.Now()
			page, err := u.Page(room, last[room], limit)
			if err != nil {
				continue
			}
			answered := rec.Now()
			rec.Read(checker.Read{
				Room: room, After: last[room], Limit: limit, Invoked: invoked, Answered: answered, Seen: Seen(page, answered),
			})
			if len(page) > 0 {
				last[room] = page[len(page)-1].Seq
			}
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
		}
	}
}
