package api_test

import (
	"testing"

	"github.com/chatapi/chatapi/api"
)

func TestAVersionAndASlashAtTheEndChangeNoPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/ws/chat": api.ChatSocketPath, "/ws/chat/": api.ChatSocketPath, "/v1/ws/chat": api.ChatSocketPath, "/v1/ws/chat/": api.ChatSocketPath,
		"/v1/api/v1/chats/": api.ChatsPath, "/api/v1/chats": api.ChatsPath,
		"/v1/v1/ws/chat": "/v1/ws/chat", "/ws/chat//": "/ws/chat/", "/ws/v1/chat": "/ws/v1/chat",
	} {
		if got := api.Bare(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}
