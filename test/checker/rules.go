package checker

import (
	"cmp"
	"fmt"
	"slices"
)

// witnesses bounds how many violations of one rule are reported: the first few say enough.
const witnesses = 5

// Check applies every rule and returns what broke them; none is a pass.
func (h History) Check() []Violation {
	var found []Violation
	for _, rule := range []struct {
		name  string
		check func(History, func(string, ...any))
	}{
		{"R1", ackedAreKept}, {"R2", refusedAreNot}, {"R3", denseNumbers}, {"R4", oneOrder}, {"R5", realTimeOrder},
		{"R6", gapFreeStreams}, {"R7", visiblePrefix}, {"R11", oneMessagePerClientID},
	} {
		count := 0
		rule.check(h, func(format string, args ...any) {
			if count++; count <= witnesses {
				found = append(found, Violation{rule.name, fmt.Sprintf(format, args...)})
			}
		})
	}
	return found
}

// ackedAreKept is R1: every acknowledged message is in the final content exactly once, under the acknowledged number.
func ackedAreKept(h History, broken func(string, ...any)) {
	times := map[string]int{}
	seqs := map[string]int64{}
	for _, seen := range h.final() {
		times[seen.ID]++
		seqs[seen.ID] = seen.Seq
	}
	for _, s := range h.Sends {
		switch {
		case s.Outcome != Acked:
		case times[s.ID] != 1:
			broken("acknowledged %s (%s seq %d) is in the final content %d times", s.ID, s.Room, s.Seq, times[s.ID])
		case seqs[s.ID] != s.Seq:
			broken("%s was acknowledged with seq %d and is stored with %d", s.ID, s.Seq, seqs[s.ID])
		}
	}
}

// refusedAreNot is R2: a message whose every attempt was definitely refused never appears.
func refusedAreNot(h History, broken func(string, ...any)) {
	refused := map[logical]bool{}
	for _, s := range h.Sends {
		before, known := refused[s.logical()]
		refused[s.logical()] = s.Outcome == Refused && (before || !known)
	}
	for _, seen := range h.everything() {
		if refused[seen.logical()] {
			broken("%s of %s was refused and is seen as %s seq %d", seen.ClientID, seen.Sender, seen.ID, seen.Seq)
		}
	}
}

// denseNumbers is R3: the stored numbers of a room are 1, 2, 3 …, and rev rises with them.
func denseNumbers(h History, broken func(string, ...any)) {
	for room, content := range h.Final {
		var rev int64
		for i, seen := range content {
			if seen.Seq != int64(i)+1 {
				broken("%s has seq %d at place %d", room, seen.Seq, i+1)
				break
			}
			if seen.Rev <= rev {
				broken("%s has rev %d at seq %d after rev %d", room, seen.Rev, seen.Seq, rev)
			}
			rev = seen.Rev
		}
	}
}

// oneOrder is R4: a number means the same message to everybody who ever saw it, acknowledgements included.
func oneOrder(h History, broken func(string, ...any)) {
	type number struct {
		room string
		seq  int64
	}
	ids := map[number]string{}
	note := func(room string, seq int64, id string) {
		n := number{room, seq}
		if before, known := ids[n]; known && before != id {
			broken("seq %d of %s is both %s and %s", seq, room, before, id)
			return
		}
		ids[n] = id
	}
	for _, seen := range h.everything() {
		note(seen.Room, seen.Seq, seen.ID)
	}
	for _, s := range h.Sends {
		if s.Outcome == Acked {
			note(s.Room, s.Seq, s.ID)
		}
	}
}

// realTimeOrder is R5: a send that was answered before another began has the lower number. Retries that were answered
// with the stored message are left out: their number is older than they are.
func realTimeOrder(h History, broken func(string, ...any)) {
	rooms := map[string][]Send{}
	for _, s := range h.Sends {
		if s.Outcome == Acked && !s.Duplicate {
			rooms[s.Room] = append(rooms[s.Room], s)
		}
	}
	for room, sends := range rooms {
		answered := slices.Clone(sends)
		slices.SortFunc(answered, func(a, b Send) int { return cmp.Compare(a.Answered, b.Answered) })
		slices.SortFunc(sends, func(a, b Send) int { return cmp.Compare(a.Invoked, b.Invoked) })
		next, highest := 0, Send{}
		for _, s := range sends {
			for ; next < len(answered) && answered[next].Answered < s.Invoked; next++ {
				if answered[next].Seq > highest.Seq {
					highest = answered[next]
				}
			}
			if s.Seq <= highest.Seq && s.ID != highest.ID && highest.ID != "" {
				broken("%s: seq %d was answered before the send of seq %d began", room, highest.Seq, s.Seq)
			}
		}
	}
}

// gapFreeStreams is R6: a connection gets what follows its resume point, in order and without a gap. Redelivery of
// what it has is allowed.
func gapFreeStreams(h History, broken func(string, ...any)) {
	for _, stream := range h.Streams {
		last := stream.After
		for _, seen := range stream.Seen {
			if seen.Seq > last+1 {
				broken("%s: seq %d of %s came after %d", stream.Name, seen.Seq, stream.Room, last)
			}
			last = max(last, seen.Seq)
		}
	}
}

// visiblePrefix is R7: once anybody has seen number n, every read that begins later returns all up to n that it asks for.
func visiblePrefix(h History, broken func(string, ...any)) {
	highest := h.highestOverTime()
	for _, read := range h.Reads {
		last := read.After
		for _, seen := range read.Seen {
			if seen.Seq != last+1 {
				broken("a read of %s above %d has seq %d after %d", read.Room, read.After, seen.Seq, last)
			}
			last = seen.Seq
		}
		known := highest[read.Room].before(read.Invoked)
		if len(read.Seen) < read.Limit && last < known {
			broken("a read of %s ends at seq %d although %d had been seen before it began", read.Room, last, known)
		}
	}
}

// oneMessagePerClientID is R11: all attempts under one client id have one id and number, and it is stored once.
func oneMessagePerClientID(h History, broken func(string, ...any)) {
	ids := map[logical]Send{}
	for _, s := range h.Sends {
		if s.Outcome != Acked || s.ClientID == "" {
			continue
		}
		before, known := ids[s.logical()]
		if known && (before.ID != s.ID || before.Seq != s.Seq) {
			broken("client id %s is both %s seq %d and %s seq %d", s.ClientID, before.ID, before.Seq, s.ID, s.Seq)
		}
		ids[s.logical()] = s
	}
	stored := map[logical]string{}
	for _, seen := range h.final() {
		if seen.ClientID == "" {
			continue
		}
		if before, known := stored[seen.logical()]; known {
			broken("client id %s is stored as %s and as %s", seen.ClientID, before, seen.ID)
		}
		if acked, known := ids[seen.logical()]; known && acked.ID != seen.ID {
			broken("client id %s was acknowledged as %s and is stored as %s", seen.ClientID, acked.ID, seen.ID)
		}
		stored[seen.logical()] = seen.ID
	}
}
