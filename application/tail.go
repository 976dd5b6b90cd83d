package application

import "bytes"

// tail is the newest steps of a room's log, gap-free by rev, so that those who were away for a moment need no read.
type tail struct {
	steps []signal
	bytes int
}

const (
	tailFrames = 100
	tailBytes  = 64 << 10
)

// add appends the next step and forgets the oldest beyond the bounds. The frame is copied: as it came it shares memory
// with all that was committed along with it. It returns by how much the bytes held grew.
func (t *tail) add(s signal) (grown int) {
	before := t.bytes
	s.Bytes, s.end.Bytes = bytes.Clone(s.Bytes), bytes.Clone(s.end.Bytes)
	t.steps = append(t.steps, s)
	t.bytes += s.size()
	drop := 0
	for len(t.steps)-drop > tailFrames || t.bytes > tailBytes {
		t.bytes -= t.steps[drop].size()
		drop++
	}
	clear(t.steps[:drop]) // append moves the rest to new memory in time
	t.steps = t.steps[drop:]
	return t.bytes - before
}

// size is how many bytes a step holds.
func (s signal) size() int { return len(s.Bytes) + len(s.end.Bytes) }

// after returns the steps above rev, and whether the tail reaches back that far. The slice is the caller's.
func (t *tail) after(rev int64) ([]signal, bool) {
	if len(t.steps) == 0 || t.steps[0].Rev > rev+1 {
		return nil, false
	}
	from := int(rev + 1 - t.steps[0].Rev)
	if from >= len(t.steps) {
		return nil, true
	}
	return append([]signal(nil), t.steps[from:]...), true
}

// fill takes a run of steps that ends at the room's last rev, unless it holds a longer one itself.
func (t *tail) fill(steps []signal) (grown int) {
	if len(t.steps) >= len(steps) {
		return 0
	}
	grown = t.reset()
	for _, s := range steps {
		grown += t.add(s)
	}
	return grown
}

// reset forgets everything; the text of a changed message must not be told again.
func (t *tail) reset() (grown int) {
	grown = -t.bytes
	t.steps, t.bytes = nil, 0
	return grown
}
