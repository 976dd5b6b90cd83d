package sqlite

import (
	"slices"
	"time"

	"github.com/chatapi/chatapi/adapters/sqlrows"
	"github.com/chatapi/chatapi/domain"
)

// Bot implements ports.BotReader.
func (r *reader) Bot(id domain.BotID) (b domain.Bot, err error) {
	if err := r.source.ready(); err != nil {
		return domain.Bot{}, err
	}
	found, err := r.conn.first("SELECT "+sqlrows.BotColumns+" FROM bots WHERE tenant = ? AND id = ?", args(r.tenant, id[:]),
		func(row row) { b = sqlrows.ScanBot(row) })
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
	err = r.conn.query("SELECT "+sqlrows.BotColumns+" FROM bots WHERE tenant = ? ORDER BY created, number LIMIT 0 + ? OFFSET ?",
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
	if err != nil || room.bots == 0 {
		return nil, err
	}
	return findBots(r.conn, room.number)
}

func findBots(c *conn, room int64) (bots []domain.BotID, err error) {
	err = c.query("SELECT bot FROM members WHERE room = ? AND bot IS NOT NULL AND state = 1 ORDER BY place LIMIT 0 + ?",
		args(room, int64(domain.MaxBotsPerRoom)), func(r row) error {
			bots = append(bots, domain.BotID(r.Blob(0)))
			return nil
		})
	return bots, err
}

// botsOf is RoomBots for every send. They are kept with the room that they are in: whoever changes them changes a room of
// the job's own, which goes with the job when that is undone.
func (t *tx) botsOf(r *room) ([]domain.BotID, error) {
	if r.bots == 0 {
		return nil, nil
	}
	if r.known == nil {
		bots, err := findBots(t.conn, r.number)
		if err != nil {
			return nil, err
		}
		r.known = bots
	}
	return slices.Clone(r.known), nil
}

// countBot counts a member who comes or leaves, if it is a bot. r must be the job's own.
func (t *tx) countBot(r *room, user domain.UserID, more int64) error {
	if _, ok := user.Bot(); !ok {
		return nil
	}
	r.bots += more
	r.known = nil
	return t.put("UPDATE rooms SET bots = ? WHERE number = ? AND tenant = ?", r.bots, r.number, r.tenant)
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
	_, err = r.conn.first(`SELECT count(*) FROM (SELECT 1 FROM messages INDEXED BY messages_bots
		WHERE pos >> 36 = ? AND sender_type = 2 AND created >= ? LIMIT 0 + ?)`,
		args(room.number, sqlrows.CeilMillis(since), int64(limit)), func(row row) { n = int(row.Int(0)) })
	return n, err
}

// AddBot implements ports.BotWriter.
func (t *tx) AddBot(b domain.Bot) error {
	if err := t.ready(); err != nil {
		return err
	}
	var have int64
	_, err := t.conn.first("SELECT count(*) FROM bots WHERE tenant = ?", args(t.tenant), func(r row) { have = r.Int(0) })
	if err != nil {
		return err
	}
	if have >= domain.MaxBots {
		return domain.ErrTooManyBots
	}
	return t.put(`INSERT INTO bots (id, tenant, name, provider, base_url, model, key, key_env, webhook_url, system_prompt,
		context_messages, max_output_tokens, temperature, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		b.ID[:], t.tenant, b.Name, string(b.Provider), b.BaseURL, b.Model, sqlrows.BlobOrNull(b.Key), b.KeyEnv, b.WebhookURL, b.SystemPrompt,
		int64(b.ContextMessages), int64(b.MaxOutputTokens), sqlrows.FloatOrNull(b.Temperature), b.CreatedAt.UnixMilli())
}

// UpdateBot implements ports.BotWriter. When it was made stays.
func (t *tx) UpdateBot(b domain.Bot) error {
	if err := t.ready(); err != nil {
		return err
	}
	n, err := t.remove(`UPDATE bots SET name = ?, provider = ?, base_url = ?, model = ?, key = ?, key_env = ?, webhook_url = ?,
		system_prompt = ?, context_messages = ?, max_output_tokens = ?, temperature = ? WHERE tenant = ? AND id = ?`,
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
	n, err := t.remove("DELETE FROM bots WHERE tenant = ? AND id = ?", t.tenant, id[:])
	if err == nil && n == 0 {
		err = domain.ErrBotNotFound
	}
	return err
}
