-- +goose Up

CREATE TABLE bots (
    number            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant            bigint NOT NULL,
    id                uuid NOT NULL,
    name              text NOT NULL,
    provider          text NOT NULL,
    base_url          text NOT NULL,
    model             text NOT NULL,
    key               bytea, -- sealed
    key_env           text NOT NULL,
    webhook_url       text NOT NULL,
    system_prompt     text NOT NULL,
    context_messages  bigint NOT NULL,
    max_output_tokens bigint NOT NULL,
    temperature       double precision,
    created           bigint NOT NULL,
    UNIQUE (tenant, id)
);

CREATE INDEX bots_created ON bots (tenant, created, number);

-- Answers on their way. Each has a job in the outbox until it ends, and becomes a message or nothing.
CREATE TABLE streams (
    message  uuid PRIMARY KEY, -- the message's id in the end
    tenant   bigint NOT NULL,
    room     bigint NOT NULL,
    bot      uuid NOT NULL,
    job      uuid NOT NULL,
    reply_to uuid NOT NULL,
    attempt  bigint NOT NULL,
    stopped  bigint NOT NULL, -- somebody has asked for it
    started  bigint NOT NULL,
    body     bytea NOT NULL   -- the text as far as it was kept, opaque
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX streams_bot ON streams (room, bot);
CREATE INDEX streams_job ON streams (tenant, job);

-- Whose answer a job is, or a dead letter's was.
ALTER TABLE outbox ADD COLUMN bot uuid;
ALTER TABLE dead_letters ADD COLUMN bot uuid;

-- Of members who are bots, whose they are; and how many of them are in a room now, so that a room without any looks for none.
ALTER TABLE members ADD COLUMN bot uuid;
ALTER TABLE rooms ADD COLUMN bots bigint NOT NULL DEFAULT 0;

CREATE INDEX members_bots ON members (room, place, bot) WHERE bot IS NOT NULL AND state = 1;
CREATE INDEX messages_bots ON messages (room, created) WHERE sender_type = 2;

ALTER TABLE usage ADD COLUMN tokens bigint NOT NULL DEFAULT 0; -- that models have read and written

-- Kinds 7 and 8 are changes of messages; 9, a handoff, is another change of the room.
DROP INDEX room_changes_others;
CREATE INDEX room_changes_others ON room_changes (room, rev) WHERE kind NOT IN (7, 8);
CREATE INDEX room_changes_handoffs ON room_changes (room, rev) WHERE kind = 9;

CALL chatapi_wall('bots');
CALL chatapi_wall('streams');

-- +goose Down

SET LOCAL ROLE chatapi_operator; -- who sees all rows
UPDATE room_changes SET kind = 2 WHERE kind = 9; -- the room as it is now, which has nothing else to tell
UPDATE rooms SET handoff = 0, assignee = NULL;
DELETE FROM dead_letters WHERE lane = 'bot';
UPDATE tenants SET dead_letters = (SELECT count(*) FROM dead_letters d WHERE d.tenant = tenants.number);
DELETE FROM outbox WHERE lane = 'bot';
RESET ROLE;
DROP INDEX room_changes_handoffs;
DROP INDEX room_changes_others;
CREATE INDEX room_changes_others ON room_changes (room, rev) WHERE kind < 7;
ALTER TABLE usage DROP COLUMN tokens;
DROP INDEX messages_bots;
DROP INDEX members_bots;
ALTER TABLE rooms DROP COLUMN bots;
ALTER TABLE members DROP COLUMN bot;
ALTER TABLE dead_letters DROP COLUMN bot;
ALTER TABLE outbox DROP COLUMN bot;
DROP TABLE streams;
DROP TABLE bots;
