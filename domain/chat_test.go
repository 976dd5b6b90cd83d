package domain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatapi/chatapi/domain"
)

func text(s string) *string { return &s }

var chatID = domain.RoomID{0x01, 0x95, 15: 7}

func TestAChatIsARoomOfItsOwner(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0).UTC()
	draft := domain.ChatDraft{User: "al:ice%3A", Title: text("Billing"), Metadata: []byte(`{"k":1}`)}
	room, owner, err := domain.NewChat(domain.Actor{Kind: domain.ActorBackend}, draft, chatID, now)
	if err != nil {
		t.Fatal(err)
	}
	want := domain.Room{
		ID: chatID, Type: domain.RoomChat, UniqueKey: "chat:al%3Aice%253A:" + domain.UUID(chatID).String(), Name: text("Billing"),
		Metadata: []byte(`{"k":1}`), FirstSeq: 1, CreatedAt: now,
	}
	if diff := cmp.Diff(want, room); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(domain.Member{User: "al:ice%3A", Role: domain.RoleAdmin, State: domain.Active, JoinedAt: now}, owner); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if room.ChatOwner() != "al:ice%3A" || room.ChatID() != domain.UUID(chatID).String() {
		t.Errorf("owner %q, id %q", room.ChatOwner(), room.ChatID())
	}
	for _, spelling := range []string{room.ChatID(), strings.ToUpper(room.ChatID())} {
		if id, ok := domain.ParseChatID(spelling); !ok || id != chatID {
			t.Errorf("%q reads as %v, %v", spelling, id, ok)
		}
	}
}

func TestWhoMayMakeWhichChat(t *testing.T) {
	t.Parallel()
	jwt, withKey := domain.Actor{Kind: domain.ActorUser, User: "alice"}, domain.Actor{Kind: domain.ActorBackendUser, User: "alice"}
	for name, c := range map[string]struct {
		actor domain.Actor
		draft domain.ChatDraft
		field string // of the refusal
		err   error
	}{
		"the backend, anybody's":  {actor: backend(), draft: domain.ChatDraft{User: "bob"}},
		"a user, their own":       {actor: jwt, draft: domain.ChatDraft{User: "alice"}},
		"a user, another's":       {actor: jwt, draft: domain.ChatDraft{User: "bob"}, err: domain.ErrForbidden},
		"with the key, another's": {actor: withKey, draft: domain.ChatDraft{User: "bob"}},
		"nobody's":                {actor: backend(), field: "user_id"},
		"a bot's":                 {actor: backend(), draft: domain.ChatDraft{User: "bot_1"}, field: "user_id"},
		"a title too long":        {actor: backend(), draft: domain.ChatDraft{User: "a", Title: text(strings.Repeat("é", 257))}, field: "title"},
		"metadata too large":      {actor: backend(), draft: domain.ChatDraft{User: "a", Metadata: []byte(`{"a":"` + strings.Repeat("x", 16384) + `"}`)}, field: "metadata"},
		"metadata no object":      {actor: backend(), draft: domain.ChatDraft{User: "a", Metadata: []byte(`[]`)}, field: "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := domain.NewChat(c.actor, c.draft, chatID, time.Now())
			var refused *domain.Error
			switch {
			case c.field != "" && (!errors.As(err, &refused) || refused.Field != c.field):
				t.Errorf("got %v, want a refusal of %s", err, c.field)
			case c.field == "" && !errors.Is(err, c.err):
				t.Errorf("got %v, want %v", err, c.err)
			}
		})
	}
}

func TestAnEmptyTitleIsNone(t *testing.T) {
	t.Parallel()
	room, _, err := domain.NewChat(backend(), domain.ChatDraft{User: "a", Title: text("")}, chatID, time.Now())
	if err != nil || room.Name != nil {
		t.Errorf("got %v, %v", room.Name, err)
	}
}

// TestKeysOfOneUsersChatsAreNobodyElses: what one user's keys begin with, no other user's does.
func TestKeysOfOneUsersChatsAreNobodyElses(t *testing.T) {
	t.Parallel()
	users := []domain.UserID{"a", "a:", "a:b", "a%3A", "ab", "é", "a%"}
	for _, u := range users {
		for _, v := range users {
			if mine, theirs := domain.ChatKeys(u), domain.ChatKeys(v); u != v && strings.HasPrefix(theirs, mine) {
				t.Errorf("%q begins with %q", theirs, mine)
			}
		}
	}
}

func TestOtherRoomsHaveNoOwner(t *testing.T) {
	t.Parallel()
	for _, r := range []domain.Room{{Type: domain.RoomDM, UniqueKey: "dm:a:b"}, {Type: domain.RoomGroup}, {Type: domain.RoomChat}, {Type: domain.RoomChat, UniqueKey: "chat:"}} {
		if owner := r.ChatOwner(); owner != "" {
			t.Errorf("%+v is %q's", r, owner)
		}
	}
}

func TestTitlesOfChats(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"Hello":                       "Hello",
		"  Hello,\n\tI need\r\nhelp ": "Hello, I need help",
		"Hello, I need help with my account and with the invoice of last month": "Hello, I need help with my account and with the invoice of",
		strings.Repeat("a", 60):                                 strings.Repeat("a", 60),
		strings.Repeat("a", 61):                                 strings.Repeat("a", 60),
		strings.Repeat("a", 60) + " b":                          strings.Repeat("a", 60),
		strings.Repeat("é", 30) + " " + strings.Repeat("é", 40): strings.Repeat("é", 30),
		" \n\x01 ": "New chat",
	} {
		if got := domain.AutoTitle(content); got != want {
			t.Errorf("%q gives %q, want %q", content, got, want)
		}
	}
}

func TestARoomAsAChat(t *testing.T) {
	t.Parallel()
	made, later := time.Unix(100, 0), time.Unix(200, 0)
	room := domain.Room{
		ID: chatID, Type: domain.RoomChat, UniqueKey: domain.ChatKeys("alice") + "x", FirstSeq: 1, CreatedAt: made, Members: 2,
	}
	c := domain.ChatOf(room, nil, nil, made)
	if c.Owner != "alice" || c.Title != "New chat" || c.Status != domain.ChatActive || c.Messages != 0 || !c.LastMessageAt.IsZero() || c.UpdatedAt != made {
		t.Errorf("an empty chat is %+v", c)
	}
	room.LastSeq, room.Members = 3, 1
	first, last := domain.Message{Content: "Hi there", CreatedAt: made}, domain.Message{CreatedAt: later}
	c = domain.ChatOf(room, &first, &last, later)
	if c.Title != "Hi there" || c.Status != domain.ChatClosed || c.Messages != 3 || c.LastMessageAt != later || c.UpdatedAt != later {
		t.Errorf("a chat with nobody to answer is %+v", c)
	}
	room.FirstSeq, room.Name = 2, text("Named")
	if c = domain.ChatOf(room, &first, &last, later); c.Title != "Named" || c.Messages != 2 {
		t.Errorf("a chat with a name is %+v", c)
	}
	room.Name = nil
	gone := first.Tombstone(later)
	if c = domain.ChatOf(room, &gone, &last, later); c.Title != "New chat" {
		t.Errorf("of a deleted message the title keeps %q", c.Title)
	}
}

func TestRolesInAChat(t *testing.T) {
	t.Parallel()
	for sender, want := range map[domain.UserID]string{
		"alice": "user false", "carol": "assistant true", "bot_1": "assistant false", domain.SystemUser: "assistant false",
	} {
		role, human := domain.ChatRoleOf("alice", sender)
		if got := string(role) + map[bool]string{true: " true", false: " false"}[human]; got != want {
			t.Errorf("%s is %s, want %s", sender, got, want)
		}
	}
}

func TestAChatKeepsItsOwner(t *testing.T) {
	t.Parallel()
	chat := domain.Room{Type: domain.RoomChat, UniqueKey: domain.ChatKeys("alice") + "x"}
	if err := domain.CheckLeave(chat, "alice"); !errors.Is(err, domain.ErrChatOwner) {
		t.Errorf("the owner may leave: %v", err)
	}
	for _, c := range []struct {
		room domain.Room
		user domain.UserID
	}{{chat, "carol"}, {domain.Room{Type: domain.RoomGroup}, "alice"}} {
		if err := domain.CheckLeave(c.room, c.user); err != nil {
			t.Errorf("%s may not leave %+v: %v", c.user, c.room, err)
		}
	}
}

func TestLimitsOfChats(t *testing.T) {
	t.Parallel()
	c, err := domain.MergeConfig(domain.TenantConfig{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := c.ChatRate(); r != (domain.Rate{PerSecond: 100, Burst: 100, Per: time.Minute}) || c.ChatMessages() != 10 || c.ChatSockets() != 50 {
		t.Errorf("by default %+v, %d messages, %d sockets", r, c.ChatMessages(), c.ChatSockets())
	}
	c, err = domain.MergeConfig(c, []byte(`{"chat_limits":{"requests_per_minute":0,"messages_per_second":50,"sockets":1000}}`))
	if err != nil {
		t.Fatal(err)
	}
	if !c.ChatRate().IsUnlimited() || c.ChatMessages() != 50 || c.ChatSockets() != 1000 {
		t.Errorf("set to %+v, %d messages, %d sockets", c.ChatRate(), c.ChatMessages(), c.ChatSockets())
	}
}
