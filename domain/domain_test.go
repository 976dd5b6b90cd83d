package domain_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chatapi/chatapi/domain"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)

func backend() domain.Actor { return domain.Actor{Tenant: "t", Kind: domain.ActorBackend} }

func backendAs(u domain.UserID) domain.Actor {
	return domain.Actor{Tenant: "t", Kind: domain.ActorBackendUser, User: u}
}

func endUser(u domain.UserID) domain.Actor {
	return domain.Actor{Tenant: "t", Kind: domain.ActorUser, User: u}
}

func TestUUIDTextRoundTripsAndHasOneSpelling(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var u domain.UUID
		copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		got, ok := domain.ParseUUID(u.String())
		if !ok || got != u {
			t.Fatalf("parse(%s) = %v, %v", u, got, ok)
		}
		room, ok := domain.ParseRoomID(domain.RoomID(u).String())
		if !ok || room != domain.RoomID(u) {
			t.Fatalf("room id %s does not round trip", domain.RoomID(u))
		}
	})
	for _, bad := range []string{
		"", "room_", "018f", "018F6E1E-7C5B-7C1A-8000-000000000000", "018f6e1e7c5b-7c1a-8000-000000000000-",
		"018f6e1e-7c5b-7c1a-8000-00000000000g", "{18f6e1e-7c5b-7c1a-8000-00000000000}", "018f6e1e-7c5b-7c1a-8000-0000000000000",
	} {
		if _, ok := domain.ParseUUID(bad); ok {
			t.Errorf("ParseUUID(%q) accepted", bad)
		}
	}
	if _, ok := domain.ParseRoomID("msg_018f6e1e-7c5b-7c1a-8000-000000000000"); ok {
		t.Error("a message id was read as a room id")
	}
}

func TestUserIDsArePrintableAndNotReserved(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"alice": true, "a b": true, "ünïcödé ✓": true, "a:b%c'\"": true, strings.Repeat("é", 128): true,
		"": false, strings.Repeat("é", 129): false, "a\x00b": false, "a\nb": false, "a\u2028b": false, "\xff": false,
		"bot_": false, "bot_x": false, "system": false, "System": true, "robot_x": true,
	} {
		if _, err := domain.CheckUserID("user_id", id); (err == nil) != want {
			t.Errorf("CheckUserID(%q) = %v, want ok %v", id, err, want)
		}
	}
}

func TestDMKeyIsInjectiveAndSymmetric(t *testing.T) {
	t.Parallel()
	id := rapid.StringOfN(rapid.SampledFrom([]rune("ab:%3A25")), 1, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := domain.UserID(id.Draw(t, "a")), domain.UserID(id.Draw(t, "b"))
		c, d := domain.UserID(id.Draw(t, "c")), domain.UserID(id.Draw(t, "d"))
		if domain.DMKey(a, b) != domain.DMKey(b, a) {
			t.Fatalf("key of %q,%q depends on their order", a, b)
		}
		same := a == c && b == d || a == d && b == c
		if (domain.DMKey(a, b) == domain.DMKey(c, d)) != same {
			t.Fatalf("%q,%q and %q,%q: keys %s, %s", a, b, c, d, domain.DMKey(a, b), domain.DMKey(c, d))
		}
	})
	if got := domain.DMKey("user2", "user1"); got != "dm:user1:user2" {
		t.Errorf("plain key = %s", got)
	}
}

func TestRoomCreationRules(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", domain.MaxRoomName+1)
	many := make([]string, domain.MaxRoomMembersAtOnce+1)
	for i := range many {
		many[i] = fmt.Sprint("u", i)
	}
	cases := []struct {
		name    string
		actor   domain.Actor
		draft   domain.RoomDraft
		members string // user:role …
		err     string // the field, or the code
	}{
		{"a DM by one of the two", endUser("a"), domain.RoomDraft{Type: "dm", Members: []string{"b", "a"}}, "b:member a:member", ""},
		{"a DM between others by a user", endUser("c"), domain.RoomDraft{Type: "dm", Members: []string{"a", "b"}}, "", "AUTHORIZATION_ERROR"},
		{"a DM between others by the backend for a user", backendAs("c"), domain.RoomDraft{Type: "dm", Members: []string{"a", "b"}}, "a:member b:member", ""},
		{"a DM by the backend", backend(), domain.RoomDraft{Type: "dm", Members: []string{"a", "b"}}, "a:member b:member", ""},
		{"a DM with oneself", endUser("a"), domain.RoomDraft{Type: "dm", Members: []string{"a", "a"}}, "", "members"},
		{"a DM of three", endUser("a"), domain.RoomDraft{Type: "dm", Members: []string{"a", "b", "c"}}, "", "members"},
		{"the creator of a group is its admin", endUser("c"), domain.RoomDraft{Type: "group", Members: []string{"a", "b"}}, "c:admin a:member b:member", ""},
		{"a creator named among the members", endUser("b"), domain.RoomDraft{Type: "group", Members: []string{"a", "b"}}, "b:admin a:member", ""},
		{"a group of one", endUser("a"), domain.RoomDraft{Type: "group"}, "a:admin", ""},
		{"the backend's first member is the admin", backend(), domain.RoomDraft{Type: "channel", Members: []string{"a", "b"}}, "a:admin b:member", ""},
		{"a group of nobody", backend(), domain.RoomDraft{Type: "group"}, "", "members"},
		{"an unknown type", backend(), domain.RoomDraft{Type: "chat", Members: []string{"a"}}, "", "type"},
		{"a reserved member", backend(), domain.RoomDraft{Type: "group", Members: []string{"bot_1"}}, "", "members"},
		{"too many members", backend(), domain.RoomDraft{Type: "group", Members: many}, "", "members"},
		{"a long name", endUser("a"), domain.RoomDraft{Type: "group", Name: &long}, "", "name"},
		{"metadata that is no object", endUser("a"), domain.RoomDraft{Type: "group", Metadata: []byte(`[1]`)}, "", "metadata"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, members, err := domain.NewRoom(c.actor, c.draft, domain.RoomID{1}, now)
			if got := fieldOrCode(err); got != c.err {
				t.Fatalf("error %q (%v), want %q", got, err, c.err)
			}
			var got []string
			for _, m := range members {
				got = append(got, string(m.User)+":"+string(m.Role))
			}
			if strings.Join(got, " ") != c.members {
				t.Errorf("members %v, want %s", got, c.members)
			}
		})
	}
}

func fieldOrCode(err error) string {
	var e *domain.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		return "not a domain error"
	case e.Field != "":
		return e.Field
	}
	return string(e.Code)
}

func TestRightsOfEveryStanding(t *testing.T) {
	t.Parallel()
	member := &domain.Member{User: "u", Role: domain.RoleMember, State: domain.Active}
	admin := &domain.Member{User: "u", Role: domain.RoleAdmin, State: domain.Active}
	left := &domain.Member{User: "u", Role: domain.RoleAdmin, State: domain.Left}
	ok, stranger, forbidden, user := error(nil), error(domain.ErrNotMember), error(domain.ErrForbidden), error(domain.ErrUserRequired)
	table := map[domain.Action][5]error{ // stranger, left, member, admin, backend alone
		domain.ActRead:          {stranger, stranger, ok, ok, ok},
		domain.ActSend:          {stranger, stranger, ok, ok, user},
		domain.ActAck:           {stranger, stranger, ok, ok, user},
		domain.ActListMembers:   {stranger, stranger, ok, ok, ok},
		domain.ActManageMembers: {stranger, stranger, forbidden, ok, ok},
	}
	for act, want := range table {
		got := [5]error{
			domain.Authorize(endUser("u"), act, nil), domain.Authorize(backendAs("u"), act, left),
			domain.Authorize(endUser("u"), act, member), domain.Authorize(endUser("u"), act, admin),
			domain.Authorize(backend(), act, nil),
		}
		for i := range want {
			if !errors.Is(got[i], want[i]) || (got[i] == nil) != (want[i] == nil) {
				t.Errorf("action %d, standing %d: got %v, want %v", act, i, got[i], want[i])
			}
		}
	}
}

func TestSendDecidesByMembershipRepetitionAndReply(t *testing.T) {
	t.Parallel()
	in := &domain.Member{User: "u", State: domain.Active}
	draft := domain.Draft{Content: "hi", ClientID: "c1"}
	send := domain.Send{Draft: draft, Fingerprint: draft.Fingerprint(), Sender: "u", SenderType: domain.SenderUser, ID: domain.MessageID{7}, Now: now}
	stored := domain.Message{ID: domain.MessageID{9}, Seq: 4, Content: "edited since"}
	reply := send
	reply.ReplyTo = domain.MessageID{3}
	cases := []struct {
		name string
		send domain.Send
		snap domain.Snapshot
		want domain.Change
		err  error
	}{
		{"a stranger", send, domain.Snapshot{}, domain.Change{}, domain.ErrNotMember},
		{"one who left", send, domain.Snapshot{Member: &domain.Member{State: domain.Left}}, domain.Change{}, domain.ErrNotMember},
		{"a first send", send, domain.Snapshot{Room: domain.Room{ID: domain.RoomID{1}}, Member: in}, domain.Change{
			Message:     domain.Message{ID: send.ID, Room: domain.RoomID{1}, Sender: "u", SenderType: domain.SenderUser, Content: "hi", ClientID: "c1", CreatedAt: now},
			Fingerprint: send.Fingerprint,
		}, nil},
		{"a repetition", send, domain.Snapshot{Member: in, Duplicate: &domain.Sent{Message: stored, Fingerprint: send.Fingerprint}}, domain.Change{Duplicate: &stored}, nil},
		{"another message under the same client_id", send, domain.Snapshot{Member: in, Duplicate: &domain.Sent{Message: stored}}, domain.Change{}, domain.ErrClientIDReused},
		{"a repeated Idempotency-Key", send, domain.Snapshot{Member: in, Replayed: &domain.Sent{Message: stored}}, domain.Change{Duplicate: &stored}, nil},
		{"a reused Idempotency-Key", send, domain.Snapshot{Member: in, KeyReused: true}, domain.Change{}, domain.ErrIdempotency},
		{"a reply to nothing", reply, domain.Snapshot{Member: in}, domain.Change{}, domain.Invalid("reply_to", "")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.send.Decide(c.snap)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFingerprintTellsDraftsApart(t *testing.T) {
	t.Parallel()
	drafts := []domain.Draft{
		{Content: "ab"}, {Content: "a", Meta: []byte("b")}, {Content: "a", ReplyTo: "b"}, {Content: "a"}, {Content: "ab", ClientID: "x"},
	}
	seen := map[domain.Fingerprint]int{}
	for i, d := range drafts[:4] {
		if j, dup := seen[d.Fingerprint()]; dup {
			t.Errorf("drafts %d and %d share a fingerprint", i, j)
		}
		seen[d.Fingerprint()] = i
	}
	if drafts[0].Fingerprint() != drafts[4].Fingerprint() {
		t.Error("the client_id is part of the fingerprint")
	}
}

func TestDraftLimits(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32)
	for name, c := range map[string]struct {
		draft domain.Draft
		field string
	}{
		"one byte":              {domain.Draft{Content: "x"}, ""},
		"the longest":           {domain.Draft{Content: strings.Repeat("x", 100)}, ""},
		"empty":                 {domain.Draft{}, "content"},
		"a byte too long":       {domain.Draft{Content: strings.Repeat("x", 101)}, "content"},
		"a long client_id":      {domain.Draft{Content: "x", ClientID: strings.Repeat("c", 65)}, "client_id"},
		"a client_id of spaces": {domain.Draft{Content: "x", ClientID: "a b"}, "client_id"},
		"meta that is a list":   {domain.Draft{Content: "x", Meta: []byte(`[]`)}, "meta"},
		"meta of the full size": {domain.Draft{Content: "x", Meta: []byte(`{"a":"` + strings.Repeat("x", domain.MaxObject-8) + `"}`)}, ""},
		"meta a byte too long":  {domain.Draft{Content: "x", Meta: []byte(`{"a":"` + strings.Repeat("x", domain.MaxObject-7) + `"}`)}, "meta"},
		"meta nested 32 deep":   {domain.Draft{Content: "x", Meta: []byte(nested)}, ""},
		"meta nested 33 deep":   {domain.Draft{Content: "x", Meta: []byte(`{"b":` + nested + `}`)}, "meta"},
		"braces inside strings": {domain.Draft{Content: "x", Meta: []byte(`{"a":"` + strings.Repeat(`{[\"`, 40) + `"}`)}, ""},
	} {
		if got := fieldOrCode(c.draft.Check(100)); got != c.field {
			t.Errorf("%s: error about %q, want %q", name, got, c.field)
		}
	}
}

func TestClaimsRules(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) time.Time { return now.Add(d) }
	for name, c := range map[string]struct {
		claims domain.Claims
		err    error
	}{
		"valid":                    {domain.Claims{Subject: "u", ExpiresAt: at(time.Hour)}, nil},
		"30 days":                  {domain.Claims{Subject: "u", ExpiresAt: at(30 * 24 * time.Hour)}, nil},
		"over 30 days":             {domain.Claims{Subject: "u", ExpiresAt: at(30*24*time.Hour + time.Minute)}, domain.ErrUnauthenticated},
		"no exp":                   {domain.Claims{Subject: "u"}, domain.ErrUnauthenticated},
		"just expired, in leeway":  {domain.Claims{Subject: "u", ExpiresAt: at(-29 * time.Second)}, nil},
		"expired":                  {domain.Claims{Subject: "u", ExpiresAt: at(-30 * time.Second)}, domain.ErrTokenExpired},
		"not yet valid, in leeway": {domain.Claims{Subject: "u", ExpiresAt: at(time.Hour), NotBefore: at(30 * time.Second)}, nil},
		"not yet valid":            {domain.Claims{Subject: "u", ExpiresAt: at(time.Hour), NotBefore: at(31 * time.Second)}, domain.ErrUnauthenticated},
		"no sub":                   {domain.Claims{ExpiresAt: at(time.Hour)}, domain.ErrUnauthenticated},
		"a bot":                    {domain.Claims{Subject: "bot_1", ExpiresAt: at(time.Hour)}, domain.ErrUnauthenticated},
		"system":                   {domain.Claims{Subject: "system", ExpiresAt: at(time.Hour)}, domain.ErrUnauthenticated},
	} {
		if _, err := domain.CheckClaims(c.claims, now); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.err)
		}
	}
}

func TestReplayPlanKeepsTheNewestWithinBothLimits(t *testing.T) {
	t.Parallel()
	id := func(n byte) domain.RoomID { return domain.RoomID{n} }
	stands := []domain.Stand{{Room: id(0), FromRev: 10, FromSeq: 8, LastSeq: 8, LastRev: 10}} // nothing missed
	stands = append(stands, domain.Stand{Room: id(1), FromRev: 10, FromSeq: 8, LastSeq: 9, LastRev: 12})
	stands = append(stands, domain.Stand{Room: id(2), FromRev: 0, FromSeq: 0, LastSeq: 700, LastRev: 701})
	for n := byte(3); n < 13; n++ {
		stands = append(stands, domain.Stand{Room: id(n), FromRev: 1, FromSeq: 0, LastSeq: 500, LastRev: 501})
	}
	stretches, gaps := domain.PlanReplay(stands)
	wantStretches := []domain.Stretch{{Room: id(1), FromRev: 10, MinSeq: 9}, {Room: id(2), FromRev: 0, MinSeq: 201}}
	for n := byte(3); n < 11; n++ {
		wantStretches = append(wantStretches, domain.Stretch{Room: id(n), FromRev: 1, MinSeq: 1})
	}
	wantStretches = append(wantStretches, domain.Stretch{Room: id(11), FromRev: 1, MinSeq: 2}, domain.Stretch{Room: id(12), FromRev: 1, MinSeq: 501})
	wantGaps := []domain.Gap{{Room: id(2), FromSeq: 1, ToSeq: 200}, {Room: id(11), FromSeq: 1, ToSeq: 1}, {Room: id(12), FromSeq: 1, ToSeq: 500}}
	if diff := cmp.Diff(wantStretches, stretches); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(wantGaps, gaps); diff != "" {
		t.Error(diff)
	}
}

func TestConfigMergesResetsAndRefuses(t *testing.T) {
	t.Parallel()
	c, err := domain.MergeConfig(domain.TenantConfig{}, []byte(`{"rate_limit":5,"max_message_size":99,"allowed_origins":["https://a.example"]}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err = domain.MergeConfig(c, []byte(`{"rate_limit":null,"retry_limit":3}`))
	if err != nil || c.RateLimit != nil || *c.RetryLimit != 3 || c.MaxMessage() != 99 {
		t.Errorf("merged to %+v, %v", c, err)
	}
	for patch, field := range map[string]string{
		`{"nope":1}`: "config.nope", `{"rate_limit":-1}`: "config.rate_limit", `{"rate_limit":"5"}`: "config.rate_limit",
		`{"max_message_size":0}`: "config.max_message_size", `{"allowed_origins":["https://a.example/"]}`: "config.allowed_origins",
		`{"allowed_origins":["*"]}`: "config.allowed_origins", `{"webhook_url":"ftp://x"}`: "config.webhook_url",
		`{"on_webhook_error":"maybe"}`: "config.on_webhook_error", `[]`: "config", `{"retry_limit":1.5}`: "config.retry_limit",
		`{"chat_limits":5}`: "config.chat_limits", `{"chat_limits":[]}`: "config.chat_limits", `{"chat_limits":"{}"}`: "config.chat_limits",
		`{"chat_limits":{"a":1}}`: "config.chat_limits", `{"chat_limits":{"sockets":0}}`: "config.chat_limits",
		`{"chat_limits":{"requests_per_minute":-1}}`: "config.chat_limits", `{"chat_limits":{"messages_per_second":0}}`: "config.chat_limits",
		`{"webhook_secret":""}`: "config.webhook_secret", `{"webhook_secret":"` + strings.Repeat("s", 513) + `"}`: "config.webhook_secret",
		`{"chat_bot_id":""}`: "config.chat_bot_id", `{"chat_bot_id":"` + strings.Repeat("b", 65) + `"}`: "config.chat_bot_id",
		`{"user_topics":[""]}`: "config.user_topics", `{"user_topics":["` + strings.Repeat("t", 129) + `"]}`: "config.user_topics",
		`{"webhook_url":"https://a.example/` + strings.Repeat("p", 2048) + `"}`:                        "config.webhook_url",
		`{"allowed_origins":[` + strings.Repeat(`"https://a.example",`, 100) + `"https://b.example"]}`: "config.allowed_origins",
		`{"user_topics":[` + strings.Repeat(`"`+strings.Repeat("t", 128)+`",`, 130) + `"t"]}`:          "config",
		`{"` + strings.Repeat("n", 5000) + `":1}`:                                                      "config." + strings.Repeat("n", 64) + "…",
	} {
		if _, err := domain.MergeConfig(c, []byte(patch)); fieldOrCode(err) != field {
			t.Errorf("%s: error about %q, want %q", patch, fieldOrCode(err), field)
		}
	}
}

func TestAConfigWithASealedSecretAndAnObjectStaysChangeable(t *testing.T) {
	t.Parallel()
	c, err := domain.MergeConfig(domain.TenantConfig{}, []byte(`{"chat_limits":{"sockets":7},"webhook_secret":"`+strings.Repeat("s", 512)+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	sealed := strings.Repeat("S", 720)
	c.WebhookSecret = &sealed
	c, err = domain.MergeConfig(c, []byte(`{"retry_limit":3}`))
	if err != nil || *c.WebhookSecret != sealed || c.ChatSockets() != 7 {
		t.Errorf("merged to %+v, %v", c, err)
	}
	if c, err = domain.MergeConfig(c, []byte(`{"chat_limits":null,"webhook_secret":null}`)); err != nil || c.ChatLimits != nil || c.WebhookSecret != nil {
		t.Errorf("reset to %+v, %v", c, err)
	}
}

func TestMarksOnlyRise(t *testing.T) {
	t.Parallel()
	a := domain.Mark{DeliveredSeq: 5, DeliveredRev: 7}
	b := domain.Mark{DeliveredSeq: 3, DeliveredRev: 9}
	if got, want := a.Raise(b), (domain.Mark{DeliveredSeq: 5, DeliveredRev: 9}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
