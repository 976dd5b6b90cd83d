package sqlrows

import "github.com/chatapi/chatapi/domain"

// MessageEvents tells messages of a room, each at the position it was stored at.
func MessageEvents(tenant domain.TenantID, room domain.RoomID, found []domain.Message) []domain.Event {
	events := make([]domain.Event, len(found))
	for i := range found {
		events[i] = domain.Event{
			Tenant: tenant, Room: room, Rev: found[i].FirstRev, Kind: domain.EventMessage,
			At: found[i].CreatedAt, Message: &found[i],
		}
	}
	return events
}

// MergeEvents joins two runs in order of rev into one, of at most limit.
func MergeEvents(a, b []domain.Event, limit int) []domain.Event {
	if len(b) == 0 {
		return a
	}
	merged := make([]domain.Event, 0, min(len(a)+len(b), limit))
	for len(merged) < limit && len(a)+len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].Rev < b[0].Rev {
			merged, a = append(merged, a[0]), a[1:]
			continue
		}
		merged, b = append(merged, b[0]), b[1:]
	}
	return merged
}
