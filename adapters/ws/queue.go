package ws

import "sync"

// queue holds the frames that wait to be written to one socket, in order. The frames are shared and immutable; the
// queue is empty memory while nothing waits. It is guarded by its Session.
type queue struct {
	list   *frameList // nil while empty
	offset int        // bytes of the first frame that are written
	bytes  int        // not yet written
}

type frameList struct{ frames [][]byte }

var frameLists = sync.Pool{New: func() any { return &frameList{frames: make([][]byte, 0, 16)} }}

func (q *queue) len() int {
	if q.list == nil {
		return 0
	}
	return len(q.list.frames)
}

func (q *queue) add(frame []byte) {
	if q.list == nil {
		q.list = frameLists.Get().(*frameList)
	}
	q.list.frames = append(q.list.frames, frame)
	q.bytes += len(frame)
}

// fits reports whether an event still has its place. A frame larger than all the room there is goes alone.
func (q *queue) fits(frame []byte) bool {
	return q.list == nil || len(q.list.frames) < pushFrames && q.bytes+len(frame) <= pushBytes
}

// fitsHint reports whether a frame takes no room that an event may need soon.
func (q *queue) fitsHint(frame []byte) bool {
	return q.list == nil || len(q.list.frames) < hintFrames && q.bytes+len(frame) <= hintBytes
}

// overReserve reports whether not even replies have their place any more.
func (q *queue) overReserve() bool {
	return q.len() >= pushFrames+reserveFrames || q.bytes >= pushBytes+reserveBytes
}

// join appends what comes next to dst, up to limit bytes; frames may be cut. They stay until written.
func (q *queue) join(dst []byte, limit int) []byte {
	if q.list == nil {
		return dst
	}
	skip := q.offset
	for _, frame := range q.list.frames {
		part := frame[skip:]
		skip = 0
		if free := limit - len(dst); len(part) > free {
			return append(dst, part[:free]...)
		}
		dst = append(dst, part...)
	}
	return dst
}

// written drops n bytes from the front, and tells how many frames are through.
func (q *queue) written(n int) (frames int) {
	if q.list == nil {
		return 0
	}
	q.bytes -= n
	n += q.offset
	list := q.list.frames
	for frames < len(list) && n >= len(list[frames]) {
		n -= len(list[frames])
		frames++
	}
	q.offset = n
	if frames == len(list) {
		q.drop()
		return frames
	}
	if frames > 0 {
		rest := copy(list, list[frames:])
		clear(list[rest:])
		q.list.frames = list[:rest]
	}
	return frames
}

// keepLast drops everything but the last frame, and a frame before it that is partly written: without its rest no later
// frame could be read.
func (q *queue) keepLast() {
	begun := 0
	if q.offset > 0 {
		begun = 1
	}
	if q.len() <= begun+1 {
		return
	}
	list := q.list.frames
	last := list[len(list)-1]
	clear(list[begun:])
	q.list.frames = append(list[:begun], last)
	q.bytes = len(last) - q.offset
	if begun == 1 {
		q.bytes += len(list[0])
	}
}

// drop drops everything.
func (q *queue) drop() {
	if q.list != nil {
		clear(q.list.frames)
		q.list.frames = q.list.frames[:0]
		frameLists.Put(q.list)
	}
	*q = queue{}
}
