-- +goose Up

-- Numbers (of tenants, users, rooms) are this file's own: they join tables and never leave the adapter. They are
-- never used again after a deletion, so that what is cached under a number stays true. Times are Unix milliseconds.

CREATE TABLE store_meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    name    TEXT NOT NULL,
    config  TEXT NOT NULL, -- JSON
    created INTEGER NOT NULL,
    deleted INTEGER        -- set: invisible, its rows wait for the purge
) STRICT;

CREATE INDEX tenants_live ON tenants (created, number) WHERE deleted IS NULL;
CREATE INDEX tenants_deleted ON tenants (deleted) WHERE deleted IS NOT NULL;

CREATE TABLE api_keys (
    id        TEXT PRIMARY KEY,
    tenant    INTEGER NOT NULL REFERENCES tenants (number),
    name      TEXT NOT NULL,
    hash      BLOB NOT NULL UNIQUE, -- SHA-256 of the key
    created   INTEGER NOT NULL,
    last_used INTEGER,
    revoked   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_tenant ON api_keys (tenant);

CREATE TABLE signing_keys (
    id        TEXT PRIMARY KEY, -- the kid of its tokens
    tenant    INTEGER NOT NULL REFERENCES tenants (number),
    name      TEXT NOT NULL,
    secret    BLOB NOT NULL, -- sealed
    created   INTEGER NOT NULL,
    last_used INTEGER,
    revoked   INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX signing_keys_tenant ON signing_keys (tenant);

CREATE TABLE users (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant     INTEGER NOT NULL,
    id         TEXT NOT NULL,
    kind       INTEGER NOT NULL DEFAULT 1, -- 1 user, 2 bot, 3 system
    user_rev   INTEGER NOT NULL DEFAULT 0, -- +1 for every change of the user's memberships
    name       TEXT,
    avatar_url TEXT,
    metadata   BLOB,
    UNIQUE (tenant, id)
) STRICT;

CREATE TABLE devices (
    user     INTEGER NOT NULL,
    device   TEXT NOT NULL,
    seen     INTEGER NOT NULL,
    user_rev INTEGER NOT NULL, -- of the user, as far as the device has learned
    PRIMARY KEY (user, device)
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_seen ON devices (seen);

CREATE TABLE rooms (
    number     INTEGER PRIMARY KEY AUTOINCREMENT CHECK (number < 1 << 27), -- shares 63 bits with 36 of seq
    id         BLOB NOT NULL UNIQUE, -- 16 bytes, unique across tenants
    tenant     INTEGER NOT NULL,
    type       TEXT NOT NULL,
    first_seq  INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    last_rev   INTEGER NOT NULL,
    changes    INTEGER NOT NULL, -- rows of room_changes there ever were: last_rev - last_seq
    active     INTEGER NOT NULL, -- time of the latest message, or of creation
    created    INTEGER NOT NULL,
    deleted    INTEGER,
    handoff    INTEGER NOT NULL DEFAULT 0,
    assignee   INTEGER,
    unique_key TEXT,
    name       TEXT,
    metadata   BLOB
) STRICT;

CREATE UNIQUE INDEX rooms_key ON rooms (tenant, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX rooms_active ON rooms (tenant, active, number);

-- A membership is never deleted: its state changes, so that an absent device learns of a removal.
CREATE TABLE members (
    room       INTEGER NOT NULL,
    user       INTEGER NOT NULL,
    role       TEXT NOT NULL,
    state      INTEGER NOT NULL, -- 1 active, 2 left
    joined_at  INTEGER NOT NULL,
    place      INTEGER NOT NULL, -- order of joining, among those who joined in the same millisecond
    joined_seq INTEGER NOT NULL,
    joined_rev INTEGER NOT NULL,
    left_seq   INTEGER NOT NULL DEFAULT 0,
    left_rev   INTEGER NOT NULL DEFAULT 0,
    user_rev   INTEGER NOT NULL, -- the user's counter at the latest change of this membership
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;

CREATE INDEX members_joined ON members (room, joined_at, place) WHERE state = 1;
CREATE INDEX members_user ON members (user, state, user_rev);

-- Clustered on (room, seq), packed into the rowid: a page of history is a few neighbouring leaves.
CREATE TABLE messages (
    pos         INTEGER PRIMARY KEY, -- room << 36 | seq
    id          BLOB NOT NULL,       -- 16 bytes
    sender      INTEGER NOT NULL,    -- users.number
    sender_type INTEGER NOT NULL,    -- 1 user, 2 bot, 3 system
    first_rev   INTEGER NOT NULL,    -- the position it was stored at
    rev         INTEGER,             -- the position of its latest change, NULL while there is none
    client_id   TEXT,
    fingerprint BLOB,                -- 16 bytes of the original send, set with client_id
    reply_to    BLOB,
    body        BLOB NOT NULL,       -- content and meta, opaque
    created     INTEGER NOT NULL,
    edited      INTEGER,
    deleted     INTEGER
) STRICT;

CREATE UNIQUE INDEX messages_id ON messages (id);
CREATE UNIQUE INDEX messages_client ON messages (pos >> 36, sender, client_id) WHERE client_id IS NOT NULL;

-- Every step of a room's log that is not a message. rev - n messages lie below a row.
CREATE TABLE room_changes (
    room     INTEGER NOT NULL,
    rev      INTEGER NOT NULL,
    n        INTEGER NOT NULL, -- the how-manieth change of the room
    seq_then INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    target   INTEGER,          -- users.number or seq, by kind
    at       INTEGER NOT NULL,
    PRIMARY KEY (room, rev)
) STRICT, WITHOUT ROWID;

CREATE TABLE marks (
    user          INTEGER NOT NULL,
    room          INTEGER NOT NULL,
    device        TEXT NOT NULL,
    delivered_seq INTEGER NOT NULL,
    delivered_rev INTEGER NOT NULL,
    read_seq      INTEGER NOT NULL,
    PRIMARY KEY (user, room, device)
) STRICT, WITHOUT ROWID;

CREATE INDEX marks_device ON marks (user, device); -- to forget a device

CREATE TABLE idempotency (
    tenant   INTEGER NOT NULL,
    user     TEXT NOT NULL, -- empty: the tenant's backend
    key      BLOB NOT NULL, -- SHA-256
    request  BLOB NOT NULL, -- SHA-256
    status   INTEGER NOT NULL,
    resource TEXT NOT NULL,
    created  INTEGER NOT NULL,
    PRIMARY KEY (tenant, user, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_created ON idempotency (created);

-- +goose Down

DROP TABLE idempotency;
DROP TABLE marks;
DROP TABLE room_changes;
DROP TABLE messages;
DROP TABLE members;
DROP TABLE rooms;
DROP TABLE devices;
DROP TABLE users;
DROP TABLE signing_keys;
DROP TABLE api_keys;
DROP TABLE tenants;
DROP TABLE store_meta;
