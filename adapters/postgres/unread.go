package postgres

import (
	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// countedMembers is how many memberships' counts of unread messages are remembered, some 10 MB.
const countedMembers = 65536

// unreadSince goes on counting in many rooms at once, each from where its count ended: how many of the messages counted were
// deleted since (a message is deleted once), and how many there are in the stretch beyond.
const unreadSince = `SELECT i.at, gone.n, more.n
	FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
		WITH ORDINALITY AS i (room, member, base, through, upto, rev, last_rev, at)
	CROSS JOIN LATERAL (SELECT count(*) AS n FROM room_changes c
		WHERE i.rev < i.last_rev AND c.room = i.room AND c.tenant = $8 AND c.rev > i.rev AND c.rev <= i.last_rev AND c.kind = 8
		AND c.target > i.base AND c.target <= i.through
		AND EXISTS (SELECT 1 FROM messages x WHERE x.room = i.room AND x.seq = c.target AND x.sender <> i.member OFFSET 0)) gone
	CROSS JOIN LATERAL (SELECT count(*) AS n FROM messages x WHERE x.room = i.room AND x.tenant = $8
		AND x.seq > i.through AND x.seq <= i.upto AND x.sender <> i.member AND x.deleted IS NULL) more`

// unread counts what members have not read, up to domain.MaxUnread. A view remembers what it counted; a unit of work, whose
// own writes may yet be rolled back, neither remembers nor looks at what was.
func (r *reader) unread(of []sqlrows.Reading) ([]int64, error) {
	counts := make([]sqlrows.Counted, len(of))
	for i, at := range of {
		counts[i] = sqlrows.FromStart(at)
		if at.Base < at.LastSeq {
			counts[i] = r.counts.Start(at)
		}
	}
	for again := true; again; {
		var err error
		if again, err = r.countOn(of, counts); err != nil {
			return nil, err
		}
	}
	out := make([]int64, len(of))
	for i, at := range of {
		out[i] = min(counts[i].N, domain.MaxUnread)
		if at.Base < at.LastSeq {
			r.counts.Keep(at.MemberKey, counts[i])
		}
	}
	return out, nil
}

// countOn counts a stretch further in each room where that is needed, of as many messages as are told at most, and reports
// whether it was needed in any. What is counted in a stretch may be above what is told.
func (r *reader) countOn(of []sqlrows.Reading, counts []sqlrows.Counted) (needed bool, err error) {
	var open []int
	var columns [7][]int64
	for i, at := range of {
		c := counts[i]
		if c.Rev == at.LastRev && (c.Through >= at.LastSeq || c.N >= domain.MaxUnread) {
			continue
		}
		open = append(open, i)
		upTo := max(c.Through, min(at.LastSeq, c.Through+domain.MaxUnread))
		for n, v := range [7]int64{at.Room, at.User, at.Base, c.Through, upTo, c.Rev, at.LastRev} {
			columns[n] = append(columns[n], v)
		}
	}
	if len(open) == 0 {
		return false, nil
	}
	values := make([]any, 0, len(columns)+1)
	for _, c := range columns {
		values = append(values, c)
	}
	err = r.conn.query(unreadSince, append(values, r.tenant), func(row row) error {
		place := row.Int(0) - 1
		i := open[place]
		counts[i].N += row.Int(2) - row.Int(1)
		counts[i].Through, counts[i].Rev = columns[4][place], of[i].LastRev
		return nil
	})
	return true, err
}
