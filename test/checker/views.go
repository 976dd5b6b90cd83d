package checker

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// logical is what a client id names.
type logical struct{ room, sender, clientID string }

func (s Send) logical() logical { return logical{s.Room, s.Sender, s.ClientID} }
func (s Seen) logical() logical { return logical{s.Room, s.Sender, s.ClientID} }

// final is everything that is stored at the end.
func (h History) final() iter.Seq2[int, Seen] {
	return func(yield func(int, Seen) bool) {
		for _, content := range h.Final {
			for i, seen := range content {
				if !yield(i, seen) {
					return
				}
			}
		}
	}
}

// everything is every message anybody saw at any time.
func (h History) everything() iter.Seq2[int, Seen] {
	return func(yield func(int, Seen) bool) {
		lists := [][]Seen{}
		for _, content := range h.Final {
			lists = append(lists, content)
		}
		for _, stream := range h.Streams {
			lists = append(lists, stream.Seen)
		}
		for _, read := range h.Reads {
			lists = append(lists, read.Seen)
		}
		for _, list := range lists {
			for i, seen := range list {
				if !yield(i, seen) {
					return
				}
			}
		}
	}
}

// sight is the moment at which a number had been seen by somebody.
type sight struct {
	at, seq int64
}

// sights are in order of time, with the highest number seen so far.
type sights []sight

// before is the highest number that had been seen when t began.
func (s sights) before(t int64) int64 {
	n := sort.Search(len(s), func(i int) bool { return s[i].at >= t })
	if n == 0 {
		return 0
	}
	return s[n-1].seq
}

func (h History) highestOverTime() map[string]sights {
	rooms := map[string]sights{}
	for _, s := range h.Sends {
		if s.Outcome == Acked {
			rooms[s.Room] = append(rooms[s.Room], sight{s.Answered, s.Seq})
		}
	}
	for _, stream := range h.Streams {
		for _, seen := range stream.Seen {
			rooms[seen.Room] = append(rooms[seen.Room], sight{seen.At, seen.Seq})
		}
	}
	for _, read := range h.Reads {
		for _, seen := range read.Seen {
			rooms[seen.Room] = append(rooms[seen.Room], sight{read.Answered, seen.Seq})
		}
	}
	for _, list := range rooms {
		slices.SortFunc(list, func(a, b sight) int { return cmp.Compare(a.at, b.at) })
		for i := 1; i < len(list); i++ {
			list[i].seq = max(list[i].seq, list[i-1].seq)
		}
	}
	return rooms
}
