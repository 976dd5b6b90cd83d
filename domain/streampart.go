package domain

// StreamPart is what is told of an answer while it is on its way. It is kept by nobody: who misses one learns the text from
// the next that is whole, or from the message in the end.
type StreamPart struct {
	Tenant  TenantID
	Room    RoomID
	Message MessageID
	Bot     UserID
	ReplyTo MessageID
	Attempt int
	Since   int64  // the room's position when the run last saw that it may speak: it is older than a handoff above
	Offset  int    // of Text within the answer, in bytes
	Text    string // what has come; from the beginning when Offset is 0
	Begin   bool   // a start, or the whole so far for those who ask
	Failed  StreamCode
}
