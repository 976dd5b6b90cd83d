package application

import "github.com/chatapi/chatapi/ports"

// tail is the newest frames of a room, gap-free by rev, so that those who were away for a moment need no read.
type tail struct {
	frames []ports.Frame
	bytes  int
}

const (
	tailFrames = 100
	tailBytes  = 64 << 10
)

// add appends the next frame and forgets the oldest beyond the bounds. It returns by how much the bytes held grew.
func (t *tail) add(f ports.Frame) (grown int) {
	before := t.bytes
	t.frames = append(t.frames, f)
	t.bytes += len(f.Bytes)
	drop := 0
	for len(t.frames)-drop > tailFrames || t.bytes > tailBytes {
		t.bytes -= len(t.frames[drop].Bytes)
		drop++
	}
	clear(t.frames[:drop]) // append moves the rest to new memory in time
	t.frames = t.frames[drop:]
	return t.bytes - before
}

// after returns the frames above rev, and whether the tail reaches back that far. The slice is the caller's.
func (t *tail) after(rev int64) ([]ports.Frame, bool) {
	if len(t.frames) == 0 || t.frames[0].Rev > rev+1 {
		return nil, false
	}
	from := int(rev + 1 - t.frames[0].Rev)
	if from >= len(t.frames) {
		return nil, true
	}
	return append([]ports.Frame(nil), t.frames[from:]...), true
}

// fill takes a run of frames that ends at the room's last rev, when it holds nothing newer or longer itself.
func (t *tail) fill(frames []ports.Frame) (grown int) {
	if len(t.frames) >= len(frames) {
		return 0
	}
	grown = t.reset()
	for _, f := range frames {
		grown += t.add(f)
	}
	return grown
}

// reset forgets everything; the text of a changed message must not be told again.
func (t *tail) reset() (grown int) {
	grown = -t.bytes
	t.frames, t.bytes = nil, 0
	return grown
}
