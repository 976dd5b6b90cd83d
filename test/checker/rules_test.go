package checker

import (
	"fmt"
	"testing"
)

// sound is a small history that breaks no rule: four sends to one room, one of them retried after an unknown outcome,
// one refused; two connections, one of which resumed; one read.
func sound() History {
	seen := func(seq, at int64) Seen {
		return Seen{
			Room: "r", ID: fmt.Sprintf("m%d", seq), Sender: "ann", ClientID: fmt.Sprintf("c%d", seq), Seq: seq, Rev: seq + 1, At: at,
		}
	}
	ack := func(seq, from, to int64) Send {
		return Send{
			Room: "r", Sender: "ann", ClientID: fmt.Sprintf("c%d", seq), Invoked: from, Answered: to, Outcome: Acked,
			ID: fmt.Sprintf("m%d", seq), Seq: seq,
		}
	}
	retried := ack(3, 70, 80)
	retried.Duplicate = true
	return History{
		Sends: []Send{
			ack(1, 0, 10), ack(2, 20, 30),
			{Room: "r", Sender: "ann", ClientID: "c3", Invoked: 40, Outcome: Unknown}, retried, ack(4, 45, 65),
			{Room: "r", Sender: "ann", ClientID: "c5", Invoked: 50, Outcome: Refused},
		},
		Streams: []Stream{
			{Name: "a", Room: "r", Seen: []Seen{seen(1, 12), seen(2, 32), seen(2, 33), seen(3, 60), seen(4, 66)}},
			{Name: "b", Room: "r", After: 2, Seen: []Seen{seen(3, 61), seen(4, 67)}},
		},
		Reads: []Read{
			{Room: "r", After: 1, Limit: 10, Invoked: 62, Answered: 64, Seen: []Seen{seen(2, 0), seen(3, 0)}},
			{Room: "r", After: 0, Limit: 2, Invoked: 90, Answered: 95, Seen: []Seen{seen(1, 0), seen(2, 0)}},
		},
		Final: map[string][]Seen{"r": {seen(1, 0), seen(2, 0), seen(3, 0), seen(4, 0)}},
	}
}

func TestASoundHistoryBreaksNoRule(t *testing.T) {
	t.Parallel()
	if got := sound().Check(); len(got) != 0 {
		t.Errorf("got %v, want no violation", got)
	}
}

func TestEverySeededViolationIsFoundByItsRule(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, rule string
		seed       func(*History)
	}{
		{"an acknowledged message is lost", "R1", func(h *History) { h.Final["r"] = h.Final["r"][:3] }},
		{"an acknowledged message is stored twice", "R1", func(h *History) {
			again := h.Final["r"][3]
			again.Seq, again.Rev = 5, 6
			h.Final["r"] = append(h.Final["r"], again)
		}},
		{"an acknowledged message has another number", "R1", func(h *History) { h.Sends[4].Seq = 3 }},
		{"a refused message is stored", "R2", func(h *History) {
			h.Final["r"] = append(h.Final["r"], Seen{Room: "r", ID: "m5", Sender: "ann", ClientID: "c5", Seq: 5, Rev: 6})
		}},
		{"a refused message is delivered", "R2", func(h *History) {
			h.Streams[0].Seen = append(h.Streams[0].Seen, Seen{Room: "r", ID: "m5", Sender: "ann", ClientID: "c5", Seq: 5, At: 70})
		}},
		{"a number is missing", "R3", func(h *History) { h.Final["r"] = append(h.Final["r"][:1], h.Final["r"][2:]...) }},
		{"the room does not begin at 1", "R3", func(h *History) { h.Final["r"] = h.Final["r"][1:] }},
		{"a rev does not rise", "R3", func(h *History) { h.Final["r"][2].Rev = h.Final["r"][1].Rev }},
		{"two clients see another message under one number", "R4", func(h *History) { h.Streams[1].Seen[0].ID = "other" }},
		{"an acknowledgement names another message", "R4", func(h *History) { h.Sends[1].ID = "other" }},
		{"a later send has a lower number", "R5", func(h *History) {
			h.Sends[0].Seq, h.Sends[1].Seq = 2, 1
		}},
		{"a stream has a gap", "R6", func(h *History) { h.Streams[0].Seen = append(h.Streams[0].Seen[:1], h.Streams[0].Seen[3:]...) }},
		{"a resumed stream begins too late", "R6", func(h *History) { h.Streams[1].Seen = h.Streams[1].Seen[1:] }},
		{"a read misses what was seen before it", "R7", func(h *History) { h.Reads[0].Seen = h.Reads[0].Seen[:1] }},
		{"a read has a hole", "R7", func(h *History) { h.Reads[0].Seen = h.Reads[0].Seen[1:] }},
		{"a retry makes a second message", "R11", func(h *History) { h.Sends[3].ID, h.Sends[3].Seq = "m9", 9 }},
		{"another message is stored under a known client id", "R11", func(h *History) {
			copied := h.Final["r"][0]
			copied.ID, copied.Seq, copied.Rev = "m5", 5, 6
			h.Final["r"] = append(h.Final["r"], copied)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := sound()
			c.seed(&h)
			got := h.Check()
			for _, v := range got {
				if v.Rule == c.rule {
					return
				}
			}
			t.Errorf("got %v, want a violation of %s", got, c.rule)
		})
	}
}

func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	h := History{Final: map[string][]Seen{}}
	for i := range 100 {
		h.Sends = append(h.Sends, Send{Room: "r", ID: fmt.Sprint(i), Seq: int64(i) + 1, Outcome: Acked, Invoked: 1, Answered: 2})
	}
	if got := h.Check(); len(got) != witnesses {
		t.Errorf("got %d violations, want %d", len(got), witnesses)
	}
}
