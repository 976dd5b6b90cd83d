package domain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/chatapi/chatapi/domain"
)

// TestRightsCellByCell states the permission matrix a second time, as the contract says it, and compares every cell.
func TestRightsCellByCell(t *testing.T) {
	t.Parallel()
	member := &domain.Member{User: "ann", Role: domain.RoleMember, State: domain.Active}
	admin := &domain.Member{User: "ann", Role: domain.RoleAdmin, State: domain.Active}
	left := &domain.Member{User: "ann", Role: domain.RoleAdmin, State: domain.Left}
	user := domain.Actor{Kind: domain.ActorUser, User: "ann"}
	server := domain.Actor{Kind: domain.ActorBackendUser, User: "ann"}
	columns := []struct {
		name   string
		actor  domain.Actor
		member *domain.Member
	}{
		{"backend", domain.Actor{Kind: domain.ActorBackend}, nil},
		{"user, admin", user, admin},
		{"user, member", user, member},
		{"user, left", user, left},
		{"user, stranger", user, nil},
		{"backend for an admin", server, admin},
		{"backend for a member", server, member},
		{"backend for a stranger", server, nil},
	}
	const (
		yes  = "yes"
		who  = "user_required"
		out  = "not_member"
		none = "forbidden"
	)
	rows := []struct {
		name string
		act  domain.Action
		want [8]string
	}{
		{"read", domain.ActRead, [8]string{yes, yes, yes, out, out, yes, yes, out}},
		{"send", domain.ActSend, [8]string{who, yes, yes, out, out, yes, yes, out}},
		{"ack", domain.ActAck, [8]string{who, yes, yes, out, out, yes, yes, out}},
		{"list members", domain.ActListMembers, [8]string{yes, yes, yes, out, out, yes, yes, out}},
		{"leave", domain.ActLeave, [8]string{none, yes, yes, out, out, yes, yes, out}},
		{"manage members", domain.ActManageMembers, [8]string{yes, yes, none, out, out, yes, none, out}},
		{"update room", domain.ActUpdateRoom, [8]string{yes, yes, none, out, out, yes, none, out}},
		{"remove room", domain.ActRemoveRoom, [8]string{yes, yes, none, out, out, yes, none, out}},
		{"edit own", domain.ActEditOwn, [8]string{who, yes, yes, out, out, yes, yes, out}},
		{"edit others'", domain.ActEditOthers, [8]string{who, none, none, out, out, none, none, out}},
		{"delete own", domain.ActDeleteOwn, [8]string{none, yes, yes, out, out, yes, yes, out}},
		{"delete others'", domain.ActDeleteOthers, [8]string{yes, yes, none, out, out, yes, none, out}},
		{"stop an answer", domain.ActStop, [8]string{yes, yes, yes, out, out, yes, yes, out}},
		{"hand off", domain.ActHandOff, [8]string{yes, yes, none, out, out, yes, none, out}},
	}
	for i, row := range rows {
		if int(row.act) != i+1 {
			t.Errorf("row %d is action %d: a row is missing", i, row.act)
		}
		for j, c := range columns {
			got := yes
			if err := domain.Authorize(c.actor, row.act, c.member); err != nil {
				var refusal *domain.Error
				if !errors.As(err, &refusal) {
					t.Fatal(err)
				}
				got = refusal.Reason
			}
			if got != row.want[j] {
				t.Errorf("%s as %s: %s, want %s", row.name, c.name, got, row.want[j])
			}
		}
	}
	if err := domain.Authorize(user, domain.ActHandOff+1, admin); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("an action of no row is allowed: %v", err)
	}
}

func TestJoining(t *testing.T) {
	t.Parallel()
	in := &domain.Member{State: domain.Active}
	out := &domain.Member{State: domain.Left}
	for _, c := range []struct {
		room   domain.RoomType
		member *domain.Member
		want   error
	}{
		{domain.RoomChannel, nil, nil},
		{domain.RoomChannel, in, nil},
		{domain.RoomChannel, out, nil},
		{domain.RoomGroup, nil, domain.ErrNotMember},
		{domain.RoomGroup, out, domain.ErrNotMember},
		{domain.RoomGroup, in, domain.ErrNotChannel},
		{domain.RoomDM, nil, domain.ErrNotMember},
		{domain.RoomDM, in, domain.ErrNotChannel},
	} {
		if err := domain.CheckJoin(domain.Room{Type: c.room}, c.member); !errors.Is(err, c.want) {
			t.Errorf("join of a %s as %+v: %v, want %v", c.room, c.member, err, c.want)
		}
	}
}

func TestProfilesAreTheirUsersAndTheBackends(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		actor domain.Actor
		want  error
	}{
		{domain.Actor{Kind: domain.ActorBackend}, nil},
		{domain.Actor{Kind: domain.ActorBackendUser, User: "ann"}, nil},
		{domain.Actor{Kind: domain.ActorUser, User: "ann"}, nil},
		{domain.Actor{Kind: domain.ActorBackendUser, User: "bob"}, domain.ErrForbidden},
		{domain.Actor{Kind: domain.ActorUser, User: "bob"}, domain.ErrForbidden},
	} {
		if err := c.actor.CheckUser("ann"); !errors.Is(err, c.want) {
			t.Errorf("ann's profile by %+v: %v, want %v", c.actor, err, c.want)
		}
	}
}

func TestEditsKeepWhatTheyDoNotName(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1000)
	stored := domain.Message{Content: "a", Meta: []byte(`{"x":1}`)}
	for name, c := range map[string]struct {
		edit    domain.Edit
		content string
		meta    string
		changed bool
	}{
		"content alone":  {domain.Edit{Content: "b"}, "b", `{"x":1}`, true},
		"same again":     {domain.Edit{Content: "a"}, "a", `{"x":1}`, false},
		"same, meta too": {domain.Edit{Content: "a", Meta: []byte(`{"x":1}`), SetMeta: true}, "a", `{"x":1}`, false},
		"meta cleared":   {domain.Edit{Content: "a", SetMeta: true}, "a", "", true},
		"meta replaced":  {domain.Edit{Content: "a", Meta: []byte(`{}`), SetMeta: true}, "a", `{}`, true},
	} {
		got, changed, err := c.edit.Apply(stored, now)
		if err != nil || got.Content != c.content || string(got.Meta) != c.meta || changed != c.changed || changed != got.EditedAt.Equal(now) {
			t.Errorf("%s: %+v, %v, %v", name, got, changed, err)
		}
	}
	gone := stored.Tombstone(now)
	if gone.Content != "" || gone.Meta != nil || !gone.DeletedAt.Equal(now) || !gone.IsDeleted() {
		t.Errorf("tombstone %+v", gone)
	}
	if _, _, err := (domain.Edit{Content: "b"}).Apply(gone, now); !errors.Is(err, domain.ErrMessageDeleted) {
		t.Errorf("edit of a tombstone: %v", err)
	}
}

func TestPatchesOfRoomsAndProfiles(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	room := domain.Room{Name: text("a"), Metadata: []byte(`{}`)}
	if got, changed, err := (domain.RoomPatch{}).Apply(room); err != nil || changed || *got.Name != "a" || string(got.Metadata) != "{}" {
		t.Errorf("nothing named: %+v, %v, %v", got, changed, err)
	}
	if got, changed, err := (domain.RoomPatch{SetName: true, SetMetadata: true}).Apply(room); err != nil || !changed || got.Name != nil || got.Metadata != nil {
		t.Errorf("cleared: %+v, %v, %v", got, changed, err)
	}
	if _, changed, err := (domain.RoomPatch{Name: text("a"), SetName: true}).Apply(room); err != nil || changed {
		t.Errorf("the same name is a change: %v, %v", changed, err)
	}
	if _, _, err := (domain.RoomPatch{Name: text(string(make([]rune, 257))), SetName: true}).Apply(room); err == nil {
		t.Error("a name of 257 characters is accepted")
	}
	user := domain.User{ID: "ann", Name: text("Ann")}
	if got, changed, err := (domain.UserPatch{AvatarURL: text("https://a.example/x.png"), SetAvatarURL: true}).Apply(user); err != nil || !changed || *got.Name != "Ann" {
		t.Errorf("avatar: %+v, %v, %v", got, changed, err)
	}
	for _, avatar := range []string{"", "javascript:alert(1)", "//a.example/x", "data:image/png;base64,xx", "https://u:p@a.example/x"} {
		if _, _, err := (domain.UserPatch{AvatarURL: text(avatar), SetAvatarURL: true}).Apply(user); err == nil {
			t.Errorf("avatar_url %q is accepted", avatar)
		}
	}
}
