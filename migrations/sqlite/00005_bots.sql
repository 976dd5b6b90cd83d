-- +goose Up

CREATE TABLE bots (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant            INTEGER NOT NULL,
    id                BLOB NOT NULL, -- 16 bytes
    name              TEXT NOT NULL,
    provider          TEXT NOT NULL,
    base_url          TEXT NOT NULL,
    model             TEXT NOT NULL,
    key               BLOB, -- sealed
    key_env           TEXT NOT NULL,
    webhook_url       TEXT NOT NULL,
    system_prompt     TEXT NOT NULL,
    context_messages  INTEGER NOT NULL,
    max_output_tokens INTEGER NOT NULL,
    temperature       REAL,
    created           INTEGER NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX bots_created ON bots (tenant, created, number);

-- Answers on their way. Each has a job in the outbox until it ends, and becomes a message or nothing.
CREATE TABLE streams (
    message  BLOB PRIMARY KEY, -- 16 bytes: the message's id in the end
    tenant   INTEGER NOT NULL,
    room     INTEGER NOT NULL,
    bot      BLOB NOT NULL, -- 16 bytes, as are job and reply_to
    job      BLOB NOT NULL,
    reply_to BLOB NOT NULL,
    attempt  INTEGER NOT NULL,
    stopped  INTEGER NOT NULL, -- somebody has asked for it
    started  INTEGER NOT NULL,
    body     BLOB NOT NULL -- the text as far as it was kept, opaque
) STRICT;

CREATE UNIQUE INDEX streams_bot ON streams (room, bot);
CREATE INDEX streams_job ON streams (tenant, job);

-- Whose answer a job is, or a dead letter's was.
ALTER TABLE outbox ADD COLUMN bot BLOB;
ALTER TABLE dead_letters ADD COLUMN bot BLOB;

-- Of members who are bots, whose they are; and how many of them are in a room now, so that a room without any looks for none.
ALTER TABLE members ADD COLUMN bot BLOB;
ALTER TABLE rooms ADD COLUMN bots INTEGER NOT NULL DEFAULT 0;

CREATE INDEX members_bots ON members (room, place, bot) WHERE bot IS NOT NULL AND state = 1;
CREATE INDEX messages_bots ON messages (pos >> 36, created) WHERE sender_type = 2;

ALTER TABLE usage ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0; -- that models have read and written

-- Kinds 7 and 8 are changes of messages; 9, a handoff, is another change of the room.
DROP INDEX room_changes_others;
CREATE INDEX room_changes_others ON room_changes (room, rev, kind, target, at) WHERE kind NOT IN (7, 8);
CREATE INDEX room_changes_handoffs ON room_changes (room, rev) WHERE kind = 9;

-- +goose Down

DROP INDEX room_changes_handoffs;
DROP INDEX room_changes_others;
UPDATE room_changes SET kind = 2 WHERE kind = 9; -- the room as it is now, which has nothing else to tell
CREATE INDEX room_changes_others ON room_changes (room, rev, kind, target, at) WHERE kind < 7;
ALTER TABLE usage DROP COLUMN tokens;
DROP INDEX messages_bots;
DROP INDEX members_bots;
UPDATE rooms SET handoff = 0, assignee = NULL;
ALTER TABLE rooms DROP COLUMN bots;
ALTER TABLE members DROP COLUMN bot;
DELETE FROM dead_letters WHERE lane = 'bot';
UPDATE tenants SET dead_letters = (SELECT count(*) FROM dead_letters d WHERE d.tenant = tenants.number);
ALTER TABLE dead_letters DROP COLUMN bot;
DELETE FROM outbox WHERE lane = 'bot';
ALTER TABLE outbox DROP COLUMN bot;
DROP TABLE streams;
DROP TABLE bots;
