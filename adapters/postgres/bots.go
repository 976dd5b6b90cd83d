package postgres

import (
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

const botByID = "SELECT " + sqlrows.BotColumns + " FROM bots WHERE tenant = $1 AND id = $2"

// Bot implements ports.BotReader.
func (r *reader) Bot(id domain.BotID) (domain.Bot, error) {
	if err := r.source.ready(); err != nil {
		return domain.Bot{}, err
	}
	return r.bot(botByID, id)
}

// Bot is that of a reader, but the bot stays as it is to the end of the unit of work: of two changes that are made at once
// the second is made of what the first has left, and one that is made a member is not removed meanwhile.
func (t *tx) Bot(id domain.BotID) (domain.Bot, error) {
	if err := t.ready(); err != nil {
		return domain.Bot{}, err
	}
	return t.bot(botByID+" FOR NO KEY UPDATE", id)
}

func (r *reader) bot(query string, id domain.BotID) (b domain.Bot, err error) {
	found, err := r.conn.first(query, args(r.tenant, id[:]), func(row row) { b = sqlrows.ScanBot(row) })
	if err == nil && !found {
		err = domain.ErrBotNotFound
	}
	return b, err
}

// Bots implements ports.BotReader.
func (r *reader) Bots(offset, limit int) (list []domain.Bot, err error) {
	if err := r.source.ready(); err != nil || limit <= 0 {
		return nil, err
	}
	err = r.conn.query("SELECT "+sqlrows.BotColumns+" FROM bots WHERE tenant = $1 ORDER BY created, number LIMIT $2 OFFSET $3",
		args(r.tenant, int64(limit), int64(max(offset, 0))), func(row row) error {
			list = append(list, sqlrows.ScanBot(row))
			return nil
		})
	return list, err
}

// RoomBots implements ports.BotReader.
func (r *reader) RoomBots(id domain.RoomID) ([]domain.BotID, error) {
	if err := r.source.ready(); err != nil {
		return nil, err
	}
	room, err := r.source.room(id)
	if err != nil {
		return nil, err
	}
	return r.botsOf(room)
}

const botsByRoom = `SELECT bot FROM members WHERE room = $1 AND tenant = $2 AND bot IS NOT NULL AND state = 1
	ORDER BY place LIMIT $3`

// botsOf is RoomBots of a room that is found already. Most rooms have none, and say so.
func (r *reader) botsOf(in *room) (bots []domain.BotID, err error) {
	if in.bots == 0 {
		return nil, nil
	}
	err = r.conn.query(botsByRoom, args(in.number, r.tenant, int64(domain.MaxBotsPerRoom)), func(row row) error {
		bots = append(bots, domain.BotID(row.Blob(0)))
		return nil
	})
	return bots, err
}

// countBot counts a member who comes or leaves, if it is a bot. The room is locked.
func (t *tx) countBot(r *room, user domain.UserID, more int64) error {
	if _, ok := user.Bot(); !ok {
		return nil
	}
	r.bots += more
	return t.put("UPDATE rooms SET bots = $1 WHERE number = $2 AND tenant = $3", r.bots, r.number, t.tenant)
}

// BotReplies implements ports.BotReader.
func (r *reader) BotReplies(id domain.RoomID, since time.Time, limit int) (int, error) {
	if err := r.source.ready(); err != nil {
		return 0, err
	}
	room, err := r.source.room(id)
	if err != nil || limit <= 0 {
		return 0, err
	}
	n := 0
	_, err = r.conn.first(`SELECT count(*) FROM (SELECT 1 FROM messages
		WHERE room = $1 AND tenant = $2 AND sender_type = 2 AND created >= $3 LIMIT $4) those`,
		args(room.number, r.tenant, sqlrows.CeilMillis(since), int64(limit)), func(row row) { n = int(row.Int(0)) })
	return n, err
}

// lockBots has one unit of work at a time add a bot of the tenant's.
const lockBots = "SELECT pg_advisory_xact_lock(hashtextextended('chatapi bots', $1))"

// AddBot implements ports.BotWriter.
func (t *tx) AddBot(b domain.Bot) error {
	if err := t.ready(); err != nil {
		return err
	}
	var have int64
	err := t.conn.together(
		step{query: lockBots, args: args(t.tenant)},
		step{query: "SELECT count(*) FROM bots WHERE tenant = $1", args: args(t.tenant),
			each: func(r row) error { have = r.Int(0); return nil }})
	if err != nil {
		return err
	}
	if have >= domain.MaxBots {
		return domain.ErrTooManyBots
	}
	return t.put(`INSERT INTO bots (id, tenant, name, provider, base_url, model, key, key_env, webhook_url, system_prompt,
		context_messages, max_output_tokens, temperature, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		b.ID[:], t.tenant, b.Name, string(b.Provider), b.BaseURL, b.Model, sqlrows.BlobOrNull(b.Key), b.KeyEnv, b.WebhookURL, b.SystemPrompt,
		int64(b.ContextMessages), int64(b.MaxOutputTokens), sqlrows.FloatOrNull(b.Temperature), b.CreatedAt.UnixMilli())
}

// UpdateBot implements ports.BotWriter. When it was made stays.
func (t *tx) UpdateBot(b domain.Bot) error {
	if err := t.ready(); err != nil {
		return err
	}
	n, err := t.remove(`UPDATE bots SET name = $1, provider = $2, base_url = $3, model = $4, key = $5, key_env = $6, webhook_url = $7,
		system_prompt = $8, context_messages = $9, max_output_tokens = $10, temperature = $11 WHERE tenant = $12 AND id = $13`,
		b.Name, string(b.Provider), b.BaseURL, b.Model, sqlrows.BlobOrNull(b.Key), b.KeyEnv, b.WebhookURL, b.SystemPrompt,
		int64(b.ContextMessages), int64(b.MaxOutputTokens), sqlrows.FloatOrNull(b.Temperature), t.tenant, b.ID[:])
	if err == nil && n == 0 {
		err = domain.ErrBotNotFound
	}
	return err
}

// RemoveBot implements ports.BotWriter.
func (t *tx) RemoveBot(id domain.BotID) error {
	if err := t.ready(); err != nil {
		return err
	}
	n, err := t.remove("DELETE FROM bots WHERE tenant = $1 AND id = $2", t.tenant, id[:])
	if err == nil && n == 0 {
		err = domain.ErrBotNotFound
	}
	return err
}
