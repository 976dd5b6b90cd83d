package domain

// Position is where a client says it stands in a room.
type Position struct {
	Room RoomID
	Rev  int64
}

// Stand is where a device stands in one of its rooms when it connects, as the store and the client together say.
type Stand struct {
	Room    RoomID
	FromRev int64 // everything above is missing
	FromSeq int64 // how many messages lie at or below FromRev
	LastSeq int64
	LastRev int64
}

// Stretch is what a replay sends of one room: everything above FromRev, but of the messages only those from MinSeq.
type Stretch struct {
	Room    RoomID
	FromRev int64
	MinSeq  int64
}

// MaxReplayChanges is how many changes of a room a replay tells. Who has missed more is told to fetch the room anew: its
// history says the same in less.
const MaxReplayChanges = 1000

// IsStale reports whether too many changes lie between a stand and the room's end.
func (s Stand) IsStale() bool {
	return s.LastRev-s.FromRev-max(0, s.LastSeq-s.FromSeq) > MaxReplayChanges
}

// AtEnd is the stand of somebody who fetches the room anew.
func (s Stand) AtEnd() Stand {
	s.FromRev, s.FromSeq = s.LastRev, s.LastSeq
	return s
}

// PlanReplay decides what a connecting device is sent: of each room what lies beyond its stand, at most the newest 500
// messages of a room and 5,000 in all, rooms in the order given. What is left out comes back as gaps, for REST.
func PlanReplay(stands []Stand) (stretches []Stretch, left []Gap) {
	budget := int64(MaxReplay)
	for _, s := range stands {
		if s.FromRev >= s.LastRev {
			continue
		}
		missed := max(0, s.LastSeq-s.FromSeq)
		take := min(missed, MaxReplayPerRoom, budget)
		budget -= take
		minSeq := s.LastSeq - take + 1
		if take < missed {
			left = append(left, Gap{Room: s.Room, FromSeq: s.FromSeq + 1, ToSeq: minSeq - 1})
		}
		stretches = append(stretches, Stretch{Room: s.Room, FromRev: s.FromRev, MinSeq: minSeq})
	}
	return stretches, left
}
