package harness

import (
	"fmt"
	"strings"
	"testing"
)

func message(seq, rev int64) Frame {
	return Frame{Type: "message", Message: Message{RoomID: "r", MessageID: fmt.Sprintf("m%d", seq), Seq: seq, Rev: rev}}
}

func TestAFollowerDropsDuplicatesAndNotesWhatBreaksThePromise(t *testing.T) {
	t.Parallel()
	other := message(1, 2)
	other.MessageID = "another"
	change := Frame{Type: "member.added", Message: Message{RoomID: "r", Rev: 3}}
	for _, c := range []struct {
		name       string
		frames     []Frame
		seq        int64
		duplicates int
		violation  string
	}{
		{"in order", []Frame{message(1, 2), change, message(2, 4)}, 2, 0, ""},
		{"again", []Frame{message(1, 2), message(2, 3), message(1, 2), message(2, 3)}, 2, 2, ""},
		{"a gap", []Frame{message(1, 2), message(3, 4)}, 3, 0, "seq 3 of r came after 1"},
		{"two messages under one number", []Frame{message(1, 2), other}, 1, 1, "seq 1 of r names two messages"},
		{"a position that does not rise", []Frame{message(1, 2), message(2, 2)}, 2, 0, "has rev 2 at position 2"},
		{"another epoch", []Frame{{Type: "connected", Epoch: "a"}, {Type: "connected", Epoch: "b"}}, 0, 0, "the epoch changed"},
		{"something left out", []Frame{{Type: "sync.complete", Truncated: []Gap{{"r", 1, 5}}}}, 0, 0, "left out 1–5 of r"},
		{"sent away", []Frame{{Type: "resync_required"}}, 0, 0, "resync_required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := NewFollower(nil)
			for _, frame := range c.frames {
				f.apply(frame)
			}
			found := strings.Join(f.Violations(), "; ")
			if f.Seq("r") != c.seq || f.Duplicates() != c.duplicates {
				t.Errorf("got seq %d and %d duplicates, want %d and %d", f.Seq("r"), f.Duplicates(), c.seq, c.duplicates)
			}
			if !strings.Contains(found, c.violation) || (c.violation == "") != (found == "") {
				t.Errorf("got the violations %q, want %q", found, c.violation)
			}
		})
	}
}
