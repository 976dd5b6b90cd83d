package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlite"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// makeBotRoom stores a group of alice, bob and so many bots.
func makeBotRoom(tb testing.TB, s *sqlite.Store, bots int) (domain.Room, []domain.BotID) {
	tb.Helper()
	users, ids := []domain.UserID{"alice", "bob"}, []domain.BotID(nil)
	for range bots {
		id := domain.BotID(uuid())
		users, ids = append(users, id.User()), append(ids, id)
	}
	return makeRoom(tb, s, users...), ids
}

func claimRuns(tb testing.TB, s *sqlite.Store, want int) []ports.Claim {
	tb.Helper()
	claims, _, err := s.Claim(tb.Context(), ports.ClaimQuery{Lane: domain.LaneBot, Limit: want, PerTenant: want, Lease: time.Minute})
	if err != nil || len(claims) != want {
		tb.Fatalf("%d runs were claimed, want %d; %v", len(claims), want, err)
	}
	return claims
}

func holdOf(c ports.Claim) domain.Hold {
	return domain.Hold{Job: c.ID, Fence: c.Fence, Trigger: c.Message}
}

func streamOf(c ports.Claim) domain.Stream {
	return domain.Stream{
		Message: domain.MessageID(uuid()), Room: c.Room, Bot: c.Bot, ReplyTo: c.Message, Attempt: 1, StartedAt: now,
	}
}

// open begins the answer of a run.
func open(tb testing.TB, s *sqlite.Store, c ports.Claim) domain.Stream {
	tb.Helper()
	begun := streamOf(c)
	err := s.Update(tb.Context(), tenant, func(tx ports.Tx) error {
		_, err := tx.OpenStream(holdOf(c), begun)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return begun
}

func answer(tb testing.TB, s *sqlite.Store, c ports.Claim, id domain.MessageID, text string) {
	tb.Helper()
	a := domain.Answer{ID: id, Bot: c.Bot, ReplyTo: c.Message, Content: text, Now: now}
	hold := holdOf(c)
	in := domain.Intent{Room: c.Room, Sender: c.Bot.User(), ReplyTo: c.Message, Hold: &hold}
	if _, err := s.Append(tb.Context(), tenant, in, a.Decide); err != nil {
		tb.Fatal(err)
	}
}

// useBots makes the store prepare every statement that bots have.
func useBots(t *testing.T, s *sqlite.Store) {
	t.Helper()
	room, bots := makeBotRoom(t, s, 2)
	bot := domain.Bot{ID: bots[0], Key: []byte("sealed"), CreatedAt: now}
	appendTo(t, s, room.ID, send("alice", "hello"))
	claims := claimRuns(t, s, 2)
	lost, e1 := s.Renew(t.Context(), claims, time.Minute)
	said, ended := open(t, s, claims[0]), open(t, s, claims[1])
	reading := func(r ports.Reader) error {
		_, _ = r.Bot(bots[0])
		_, e1 := r.Bots(0, 10)
		_, e2 := r.RoomBots(room.ID)
		_, e3 := r.Stream(room.ID, said.Message)
		_, _, e4 := r.StreamOf(room.ID, bots[0])
		_, e5 := r.BotReplies(room.ID, now, 10)
		return firstError(e1, e2, e3, e4, e5)
	}
	e2 := s.View(t.Context(), tenant, reading)
	e3 := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		_, e1 := tx.KeepStream(holdOf(claims[0]), said.Message, "so far")
		_, e2 := tx.SetHandoff(room.ID, domain.Handoff{Mode: domain.HandoffHuman, Assignee: "bob"}, now)
		_, e3 := tx.SetHandoff(room.ID, domain.Handoff{Mode: domain.HandoffBot}, now)
		_, e4 := tx.Events(ports.EventQuery{Room: room.ID, Latest: true, Limit: 10})
		_, e5 := tx.Events(ports.EventQuery{Room: room.ID, Limit: 10})
		e6 := firstError(tx.StopStream(room.ID, said.Message), tx.AddBot(bot), tx.UpdateBot(bot), reading(tx), tx.RemoveBot(bot.ID))
		return firstError(e1, e2, e3, e4, e5, e6, tx.EndStream(holdOf(claims[1]), ended.Message))
	})
	appendTo(t, s, room.ID, send("alice", "hello?"))
	answer(t, s, claims[0], said.Message, "the answer")
	if err := firstError(e1, e2, e3); err != nil || len(lost) > 0 {
		t.Fatalf("%v, lost %v", err, lost)
	}
	remove(t, s, room.ID)
	if err := s.DeleteTenant(t.Context(), tenant, now); err != nil {
		t.Fatal(err)
	}
	purgeAll(t, s)
}

// plansOfBots are, by a part of each statement, the ways to go about it.
var plansOfBots = map[string][]string{
	"FROM bots WHERE tenant = ? AND id = ?":        {"SEARCH bots USING INDEX sqlite_autoindex_bots_1 (tenant=? AND id=?)"},
	"FROM bots WHERE tenant = ? ORDER BY":          {"SEARCH bots USING INDEX bots_created (tenant=?)"},
	"SELECT count(*) FROM bots":                    {"SEARCH bots USING COVERING INDEX bots_created (tenant=?)"},
	"UPDATE bots SET":                              {"SEARCH bots USING INDEX sqlite_autoindex_bots_1 (tenant=? AND id=?)"},
	"SELECT bot FROM members":                      {"SEARCH members USING COVERING INDEX members_bots (room=?)"},
	"FROM messages INDEXED BY messages_bots":       {"SEARCH messages USING COVERING INDEX messages_bots (<expr>=? AND created>?)"},
	"FROM streams WHERE message = ? AND room = ?":  {"SEARCH streams USING INDEX sqlite_autoindex_streams_1 (message=?)"},
	"FROM streams WHERE bot = ? AND room = ?":      {"SEARCH streams USING INDEX streams_bot (room=? AND bot=?)"},
	"UPDATE streams SET body":                      {"SEARCH streams USING INDEX sqlite_autoindex_streams_1 (message=?)"},
	"UPDATE streams SET stopped":                   {"SEARCH streams USING INDEX sqlite_autoindex_streams_1 (message=?)"},
	"DELETE FROM streams WHERE message = ?":        {"SEARCH streams USING INDEX sqlite_autoindex_streams_1 (message=?)"},
	"DELETE FROM streams WHERE (message)":          {"SEARCH streams USING COVERING INDEX sqlite_autoindex_streams_1 (message=?)", "SEARCH streams USING INDEX streams_bot (room=?)"},
	"SELECT 1 FROM streams":                        {"SEARCH streams USING COVERING INDEX streams_job (tenant=? AND job=?)"},
	"SELECT room, bot FROM outbox":                 {"SEARCH outbox USING PRIMARY KEY (tenant=? AND id=?)"},
	"DELETE FROM outbox WHERE tenant = ? AND id =": {"SEARCH outbox USING PRIMARY KEY (tenant=? AND id=?)"},
	"UPDATE outbox SET step = 0":                   {"SEARCH outbox USING PRIMARY KEY (tenant=? AND id=?)"},
	"UPDATE outbox SET ready = ? WHERE":            {"SEARCH outbox USING PRIMARY KEY (tenant=? AND id=?)"},
}

func TestPlansOfBotsUseTheIndexMadeForThem(t *testing.T) {
	t.Parallel()
	s := openStore(t, sqlite.Config{Clock: &clock{now}})
	makeTenant(t, s)
	useBots(t, s)
	plans, err := s.Plans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range plansOfBots {
		seen := 0
		for query, plan := range plans {
			if !strings.Contains(query, part) {
				continue
			}
			seen++
			got := slices.DeleteFunc(slices.Clone(plan), func(step string) bool { return !strings.HasPrefix(step, "SEARCH") })
			if !slices.Equal(got, want) {
				t.Errorf("%q goes by\n%q, want\n%q", query, plan, want)
			}
		}
		if seen == 0 {
			t.Errorf("no statement has %q", part)
		}
	}
	for query, plan := range plans {
		for _, step := range plan {
			if scans(step) || sorts(step, query) || strings.Contains(query, "LIMIT ?") {
				t.Errorf("%q: %s", query, step)
			}
		}
	}
}

// TestSendToARoomWithoutBotsAsksForNone counts statements, since what they cost is small.
func TestSendToARoomWithoutBotsAsksForNone(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	const query = "SELECT bot FROM members WHERE room = ? AND bot IS NOT NULL AND state = 1 ORDER BY place LIMIT 0 + ?"
	room := makeRoom(t, s, "alice", "bob")
	fill(t, s, room.ID, "alice", 3)
	asked := func() bool {
		plans, err := s.Plans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return plans[query] != nil
	}
	if asked() {
		t.Error("a room without bots was asked for them")
	}
	room, _ = makeBotRoom(t, s, 1)
	fill(t, s, room.ID, "alice", 1)
	if !asked() {
		t.Error("a room with a bot was not asked for it")
	}
}

func TestTextsAndKeysOfBotsAreGoneFromTheFile(t *testing.T) {
	t.Parallel()
	e := newErasure(t)
	room, bots := makeBotRoom(t, e.s, 1)
	e.marks = []string{"SECRETTEXT", "SECRETKEY", "SECRETPROMPT"}
	bot := domain.Bot{
		ID: bots[0], Key: []byte(strings.Repeat("SECRETKEY", 300)), SystemPrompt: strings.Repeat("SECRETPROMPT", 2000), CreatedAt: now,
	}
	appendTo(t, e.s, room.ID, send("alice", "hello"))
	run := claimRuns(t, e.s, 1)[0]
	begun := open(t, e.s, run)
	for n := range 40 {
		err := e.s.Update(t.Context(), tenant, func(tx ports.Tx) error {
			_, err := tx.KeepStream(holdOf(run), begun.Message, strings.Repeat("SECRETTEXT", n*100))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err := e.s.Update(t.Context(), tenant, func(tx ports.Tx) error { return tx.AddBot(bot) })
	err2 := e.s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		return firstError(tx.EndStream(holdOf(run), begun.Message), tx.RemoveBot(bot.ID))
	})
	if err := firstError(err, err2); err != nil {
		t.Fatal(err)
	}
	e.check(t)
}

func TestPurgeLeavesNothingOfBots(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	room, bots := makeBotRoom(t, s, 2)
	second, _ := makeBotRoom(t, s, 1)
	for _, id := range []domain.RoomID{room.ID, second.ID} {
		appendTo(t, s, id, send("alice", "hello"))
	}
	for _, c := range claimRuns(t, s, 3) {
		open(t, s, c)
	}
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error { return tx.AddBot(domain.Bot{ID: bots[0], CreatedAt: now}) })
	if err != nil {
		t.Fatal(err)
	}
	left := func(want ...int64) {
		t.Helper()
		for i, table := range []string{"streams", "outbox", "bots"} {
			if got := count(t, s, "SELECT count(*) FROM "+table); got != want[i] {
				t.Errorf("%d rows of %s are left, want %d", got, table, want[i])
			}
		}
	}
	left(3, 3, 1)
	remove(t, s, room.ID)
	purgeAll(t, s)
	left(1, 1, 1)
	if err := s.DeleteTenant(t.Context(), tenant, now); err != nil {
		t.Fatal(err)
	}
	purgeAll(t, s)
	left(0, 0, 0)
}

// TestDatabaseWithBotsGoesBackAVersion has a room's log keep its positions, and nothing that the version before cannot read.
func TestDatabaseWithBotsGoesBackAVersion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chat.db")
	s := openStore(t, sqlite.Config{DSN: path})
	makeTenant(t, s)
	room, bots := makeBotRoom(t, s, 1)
	appendTo(t, s, room.ID, send("alice", "hello"))
	open(t, s, claimRuns(t, s, 1)[0])
	err := s.Update(t.Context(), tenant, func(tx ports.Tx) error {
		_, err := tx.SetHandoff(room.ID, domain.Handoff{Mode: domain.HandoffHuman, Assignee: "bob"}, now)
		letter := newLetter(domain.Job{Lane: domain.LaneBot, Room: room.ID, Bot: bots[0]})
		return firstError(err, tx.AddDeadLetter(letter), tx.AddDeadLetter(newLetter(domain.Job{Lane: domain.LaneWebhook, Room: room.ID})))
	})
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	migrateTo(t, path, 4)
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int64{
		"SELECT count(*) FROM room_changes WHERE kind > 8":  0,
		"SELECT count(*) FROM room_changes WHERE kind = 2":  1,
		"SELECT count(*) FROM outbox":                       0,
		"SELECT count(*) FROM dead_letters":                 1,
		"SELECT dead_letters FROM tenants":                  1,
		"SELECT handoff + coalesce(assignee, 0) FROM rooms": 0,
		"SELECT count(*) FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.name || c.name LIKE '%bot%'": 0,
	} {
		var got int64
		if err := db.QueryRowContext(t.Context(), query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %d, want %d; %v", query, got, want, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, sqlite.Config{DSN: path})
	events, err := ports.View(t.Context(), again, tenant, func(r ports.Reader) ([]domain.Event, error) {
		return r.Events(ports.EventQuery{Room: room.ID, Limit: 10})
	})
	if err != nil || len(events) != 3 || events[2].Kind != domain.EventRoomUpdated || events[2].State.Handoff.IsHuman() {
		t.Errorf("the log is %+v, %v", events, err)
	}
	if got := lastSeq(t, again, room.ID).LastRev; got != 3 {
		t.Errorf("the room's last rev is %d, want 3", got)
	}
}
