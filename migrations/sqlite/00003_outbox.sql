-- +goose Up

-- Calls out of the process that are to be made. Times are milliseconds of the store's own time (outbox_state), which
-- is not the time of day.
CREATE TABLE outbox (
    tenant   INTEGER NOT NULL,
    id       BLOB NOT NULL, -- 16 bytes
    event    BLOB NOT NULL, -- 16 bytes
    lane     TEXT NOT NULL,
    room     BLOB NOT NULL, -- 16 bytes: the room may be gone
    message  BLOB NOT NULL, -- 16 bytes
    created  INTEGER NOT NULL,
    due      INTEGER NOT NULL,
    ready    INTEGER NOT NULL, -- when it is handed out next: due, or the end of the lease
    fence    INTEGER,          -- of the claim that holds it, NULL when none does
    step     INTEGER NOT NULL,
    after    TEXT NOT NULL, -- with through: places of the present call
    through  TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    once     INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_ready ON outbox (lane, tenant, ready);
CREATE INDEX outbox_held ON outbox (lane, tenant, ready, fence) WHERE fence IS NOT NULL;
CREATE INDEX outbox_room ON outbox (tenant, room);

-- The store's own time and the latest fence, which both only rise.
CREATE TABLE outbox_state (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    now   INTEGER NOT NULL,
    fence INTEGER NOT NULL
) STRICT;

INSERT INTO outbox_state VALUES (1, 0, 0);

-- Calls that were given up. The job is as it was, its times those of the day.
CREATE TABLE dead_letters (
    number       INTEGER PRIMARY KEY AUTOINCREMENT, -- the newest has the highest
    tenant       INTEGER NOT NULL,
    id           BLOB NOT NULL, -- 16 bytes
    job          BLOB NOT NULL, -- 16 bytes
    event        BLOB NOT NULL, -- 16 bytes
    lane         TEXT NOT NULL,
    room         BLOB NOT NULL, -- 16 bytes
    message      BLOB NOT NULL, -- 16 bytes
    created      INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    step         INTEGER NOT NULL,
    after        TEXT NOT NULL,
    through      TEXT NOT NULL,
    job_attempts INTEGER NOT NULL,
    once         INTEGER NOT NULL,
    user         TEXT, -- NULL: several
    from_seq     INTEGER NOT NULL,
    to_seq       INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    last_attempt INTEGER, -- NULL: none
    error        TEXT NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX dead_letters_newest ON dead_letters (tenant, number);
CREATE INDEX dead_letters_room ON dead_letters (tenant, room);

-- +goose Down

DROP TABLE dead_letters;
DROP TABLE outbox_state;
DROP TABLE outbox;
