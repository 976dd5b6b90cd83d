package sqlrows

import (
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"
)

// A list of columns stands beside what reads it, so that neither changes alone. The width of a list is for statements that
// ask for more behind it.

// The columns of a membership m.
const (
	MemberColumns = "m.role, m.state, m.joined_at, m.joined_seq, m.joined_rev, m.left_seq, m.left_rev, m.read_seq"
	MemberWidth   = 8
)

// ScanMember reads MemberColumns.
func ScanMember[R Row](r R, user domain.UserID) *domain.Member { return scanMember(r, 0, user) }

func scanMember[R Row](r R, at int, user domain.UserID) *domain.Member {
	return &domain.Member{
		User: user, Role: domain.Role(r.Text(at)), State: domain.MemberState(r.Int(at + 1)), JoinedAt: FromMillis(r.Int(at + 2)),
		JoinedSeq: r.Int(at + 3), JoinedRev: r.Int(at + 4), LeftSeq: r.Int(at + 5), LeftRev: r.Int(at + 6), ReadSeq: r.Int(at + 7),
	}
}

// ScanPlace reads a room of the user's: its id, its last seq and rev, the seq and the rev of the mark, how many members it
// has, whether it was removed, so that nobody has a place in it any more, and MemberColumns.
func ScanPlace[R Row](r R, user domain.UserID) (p ports.Place, removed bool) {
	p = ports.Place{
		LastSeq: r.Int(1), LastRev: r.Int(2), Members: r.Int(5), Member: *scanMember(r, 7, user),
		Mark: domain.Mark{DeliveredSeq: r.Int(3), DeliveredRev: r.Int(4)},
	}
	copy(p.Room[:], r.Blob(0))
	return p, r.Int(6) != 0
}

// AddWaiting adds rooms that were removed and whose purge has not come to the user's membership. They are told until it
// has, and again then: only then do they count.
func AddWaiting(places *ports.Places, waiting []ports.Removal) {
	room := ports.MaxRemovals - len(places.Removed)
	places.Removed = append(places.Removed, waiting[:min(len(waiting), room)]...)
}

// UserColumns are the columns of a user u.
const UserColumns = "u.id, u.name, u.avatar_url, u.metadata, u.seen"

// ScanUser reads UserColumns.
func ScanUser[R Row](r R) domain.User {
	return domain.User{
		ID: domain.UserID(r.Text(0)), Name: Pointer(r, 1), AvatarURL: Pointer(r, 2), Metadata: r.Bytes(3), LastSeen: Time(r, 4),
	}
}

// The columns of a key k of a tenant t.
const (
	KeyColumns = "k.id, t.id, k.name, k.created, k.last_used, k.revoked"
	KeyWidth   = 6
)

// ScanKey reads KeyColumns.
func ScanKey[R Row](r R, kind domain.KeyKind) domain.Key {
	return domain.Key{
		ID: r.Text(0), Kind: kind, Tenant: domain.TenantID(r.Text(1)), Name: r.Text(2), CreatedAt: FromMillis(r.Int(3)),
		LastUsed: Time(r, 4), RevokedAt: Time(r, 5),
	}
}

// The columns that the outbox and dead letters have in common.
const (
	JobColumns = "event, lane, room, message, notification, subscription, created, due, step, after, through, last_attempt, last_error, once, bot"
	JobWidth   = 15
	JobCreated = 6 // the place of created
)

// ScanJob reads JobColumns; ahead is how far the times of the row are before the time of day.
func ScanJob[R Row](r R, ahead int64) domain.Job {
	j := domain.Job{
		Lane: domain.Lane(r.Text(1)), CreatedAt: FromMillis(r.Int(JobCreated) - ahead), Due: FromMillis(r.Int(7) - ahead),
		Step: int(r.Int(8)), From: r.Text(9), Through: r.Text(10), LastError: r.Text(12), Once: r.Int(13) != 0,
	}
	copy(j.Event[:], r.Blob(0))
	copy(j.Room[:], r.Blob(2))
	copy(j.Message[:], r.Blob(3))
	copy(j.Notification[:], r.Blob(4))
	copy(j.Subscription[:], r.Blob(5))
	copy(j.Bot[:], r.Blob(14))
	if !r.Null(11) {
		j.LastAttemptAt = FromMillis(r.Int(11) - ahead)
	}
	return j
}

// ScanLetter reads JobColumns of a dead letter and, behind them, its id, the job's id and attempts, the user, the first and the
// last seq, the attempts and the last one's time, the error, when it was given up, its number, and the notification's topic. The
// times of dead letters are those of the day.
func ScanLetter[R Row](r R) (letter domain.DeadLetter, number int64) {
	const rest = JobWidth
	letter.Job = ScanJob(r, 0)
	copy(letter.ID[:], r.Blob(rest))
	copy(letter.Job.ID[:], r.Blob(rest+1))
	letter.Job.Attempts = int(r.Int(rest + 2))
	letter.User = domain.UserID(r.Text(rest + 3))
	letter.FromSeq, letter.ToSeq, letter.Attempts = r.Int(rest+4), r.Int(rest+5), int(r.Int(rest+6))
	letter.LastAttemptAt, letter.Error, letter.At = Time(r, rest+7), r.Text(rest+8), Time(r, rest+9)
	letter.Topic = r.Text(rest + 11)
	return letter, r.Int(rest + 10)
}

// SubscriptionColumns are the columns of a subscription s, with its user by users u, joined from the left: the backend has
// none.
const SubscriptionColumns = "s.id, u.id, s.topic, s.endpoint, s.metadata, s.created"

// ScanSubscription reads SubscriptionColumns.
func ScanSubscription[R Row](r R) domain.Subscription {
	s := domain.Subscription{
		User: domain.UserID(r.Text(1)), Topic: r.Text(2), Endpoint: r.Text(3), Metadata: r.Bytes(4), CreatedAt: FromMillis(r.Int(5)),
	}
	copy(s.ID[:], r.Blob(0))
	return s
}

// ScanNotification reads topic, created and body of the notification with this id.
func ScanNotification[R Row](r R, id domain.NotificationID) (n domain.Notification, err error) {
	n = domain.Notification{ID: id, Topic: r.Text(0), CreatedAt: FromMillis(r.Int(1))}
	if !r.Null(2) {
		_, n.Payload, err = domain.DecodeBody(r.Bytes(2))
	}
	return n, err
}

// BotColumns are the columns of a bot.
const BotColumns = `id, name, provider, base_url, model, key, key_env, webhook_url, system_prompt, context_messages,
	max_output_tokens, temperature, created`

// ScanBot reads BotColumns.
func ScanBot[R Row](r R) domain.Bot {
	b := domain.Bot{
		Name: r.Text(1), Provider: domain.Provider(r.Text(2)), BaseURL: r.Text(3), Model: r.Text(4), Key: r.Bytes(5), KeyEnv: r.Text(6),
		WebhookURL: r.Text(7), SystemPrompt: r.Text(8), ContextMessages: int(r.Int(9)), MaxOutputTokens: int(r.Int(10)),
		CreatedAt: FromMillis(r.Int(12)),
	}
	copy(b.ID[:], r.Blob(0))
	if !r.Null(11) {
		temperature := r.Float(11)
		b.Temperature = &temperature
	}
	return b
}

// StreamColumns are the columns of an answer on its way.
const StreamColumns = "message, bot, reply_to, attempt, started, body"

// ScanStream reads StreamColumns.
func ScanStream[R Row](r R) (s domain.Stream, err error) {
	s = domain.Stream{Attempt: int(r.Int(3)), StartedAt: FromMillis(r.Int(4))}
	copy(s.Message[:], r.Blob(0))
	copy(s.Bot[:], r.Blob(1))
	copy(s.ReplyTo[:], r.Blob(2))
	s.Text, _, err = domain.DecodeBody(r.Bytes(5))
	return s, err
}
