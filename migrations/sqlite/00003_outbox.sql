-- +goose Up

-- Calls out of the process that are to be made. Times are milliseconds of the store's own time (outbox_state), which
-- is not the time of day. Ids are 16 bytes, or NULL where the job has none; what they name may be gone.
CREATE TABLE outbox (
    tenant       INTEGER NOT NULL,
    id           BLOB NOT NULL, -- 16 bytes
    event        BLOB NOT NULL, -- 16 bytes
    lane         TEXT NOT NULL,
    room         BLOB,
    message      BLOB,
    notification BLOB,
    subscription BLOB,
    created      INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    ready        INTEGER NOT NULL, -- when it is handed out next: due, or the end of the lease
    fence        INTEGER,          -- of the claim that holds it, NULL when none does
    step         INTEGER NOT NULL,
    after        TEXT NOT NULL, -- with through: places of the present call
    through      TEXT NOT NULL,
    attempts     INTEGER NOT NULL,
    last_attempt INTEGER,       -- NULL: none
    last_error   TEXT NOT NULL,
    once         INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_ready ON outbox (lane, tenant, ready);
CREATE INDEX outbox_age ON outbox (lane, tenant, created);
CREATE INDEX outbox_held ON outbox (lane, tenant, ready, fence) WHERE fence IS NOT NULL;
CREATE INDEX outbox_room ON outbox (tenant, room) WHERE room IS NOT NULL;
CREATE INDEX outbox_notification ON outbox (tenant, notification) WHERE notification IS NOT NULL;

-- The store's own time and the latest fence, which both only rise.
CREATE TABLE outbox_state (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    now   INTEGER NOT NULL,
    fence INTEGER NOT NULL
) STRICT;

INSERT INTO outbox_state VALUES (1, 0, 0);

-- Deliveries that were given up. The job is as it was, its times those of the day.
CREATE TABLE dead_letters (
    number       INTEGER PRIMARY KEY AUTOINCREMENT, -- the newest has the highest
    tenant       INTEGER NOT NULL,
    id           BLOB NOT NULL, -- 16 bytes
    job          BLOB NOT NULL, -- 16 bytes
    event        BLOB NOT NULL, -- 16 bytes
    lane         TEXT NOT NULL,
    room         BLOB,
    message      BLOB,
    notification BLOB,
    subscription BLOB,
    created      INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    step         INTEGER NOT NULL,
    after        TEXT NOT NULL,
    through      TEXT NOT NULL,
    job_attempts INTEGER NOT NULL,
    last_attempt INTEGER,       -- of the job, like last_error
    last_error   TEXT NOT NULL,
    once         INTEGER NOT NULL,
    user         TEXT, -- NULL: several, or the tenant's backend
    from_seq     INTEGER NOT NULL,
    to_seq       INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    attempted    INTEGER, -- the last time, NULL: never
    error        TEXT NOT NULL,
    at           INTEGER NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX dead_letters_messages ON dead_letters (tenant, number) WHERE notification IS NULL;
CREATE INDEX dead_letters_notifications ON dead_letters (tenant, number) WHERE notification IS NOT NULL;
CREATE INDEX dead_letters_notification ON dead_letters (tenant, notification) WHERE notification IS NOT NULL;
CREATE INDEX dead_letters_room ON dead_letters (tenant, room) WHERE room IS NOT NULL;
CREATE INDEX dead_letters_run ON dead_letters (tenant, user, room) WHERE lane = 'socket' AND room IS NOT NULL;
CREATE INDEX dead_letters_runs ON dead_letters (tenant, number) WHERE lane = 'socket' AND room IS NOT NULL;
CREATE INDEX dead_letters_at ON dead_letters (at);

ALTER TABLE tenants ADD COLUMN dead_letters INTEGER NOT NULL DEFAULT 0; -- how many there are of the tenant

-- +goose Down

ALTER TABLE tenants DROP COLUMN dead_letters;
DROP TABLE dead_letters;
DROP TABLE outbox_state;
DROP TABLE outbox;
