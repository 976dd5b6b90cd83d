package api

import "strings"

// VersionPrefix is the only version there is; bare paths mean the same.
const VersionPrefix = "/v1"

// The paths of the second API: of its calls, with what lies below, and of its socket.
const (
	ChatsPath      = "/api/v1/chats"
	ChatSocketPath = "/ws/chat"
)

// Bare is a path of the second API without what changes nothing there: a version before it, and a slash at its end.
func Bare(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(path, VersionPrefix), "/")
}
