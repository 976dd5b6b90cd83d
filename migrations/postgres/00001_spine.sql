-- +goose Up

-- Numbers (of tenants, users, rooms) are this database's own: they join tables and never leave the adapter. Times are Unix
-- milliseconds, texts are compared byte for byte, ids are UUIDs without their prefix.

-- Two roles that own nothing do all the work; nobody logs in as them. The tenant's role sees the rows of one tenant, which a
-- transaction names in the setting chatapi.tenant, and without it none. The operator's sees all.
-- +goose StatementBegin
DO $$
DECLARE
    name text;
    becomes text := CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END;
BEGIN
    FOREACH name IN ARRAY ARRAY['chatapi_tenant', 'chatapi_operator'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database of the server was first
            END;
        END IF;
        -- From Postgres 16 on whoever makes a role may grant it, but not become it: that is another grant.
        IF NOT pg_has_role(current_user, name, becomes) THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', name);
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO chatapi_tenant, chatapi_operator', current_schema());
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO chatapi_operator',
        current_schema());
END
$$;
-- +goose StatementEnd

-- chatapi_wall puts a table with a column tenant behind the wall: its rows are there for the tenant that is named, and for
-- the operator. It holds for the table's owner too, who has the rights of both roles but not their names. The wall chooses
-- no index: it looks at each row that a statement has found by conditions of its own. And it asks whether something is
-- there, which the planner takes to be so of nearly all rows: of an equality it would expect one row in 200 to pass, and
-- sort what is in order.
-- +goose StatementBegin
CREATE PROCEDURE chatapi_wall(behind regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', behind);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', behind);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO chatapi_tenant', behind);
    EXECUTE format('CREATE POLICY tenant ON %s TO chatapi_tenant USING '
        '(nullif(tenant = (SELECT nullif(current_setting(''chatapi.tenant'', true), '''')::bigint), false) IS NOT NULL)', behind);
    EXECUTE format('CREATE POLICY operator ON %s TO chatapi_operator USING '
        '((SELECT nullif(current_user = ''chatapi_operator'', false)) IS NOT NULL)', behind);
END
$$;
-- +goose StatementEnd

CREATE TABLE store_meta (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE tenants (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id      text COLLATE "C" NOT NULL UNIQUE,
    name    text NOT NULL,
    config  text NOT NULL, -- JSON
    created bigint NOT NULL,
    deleted bigint         -- set: invisible, its rows wait for the purge
);

CREATE INDEX tenants_live ON tenants (created, number) WHERE deleted IS NULL;
CREATE INDEX tenants_deleted ON tenants (deleted) WHERE deleted IS NOT NULL;

-- A unit of work finds its tenant's number; nothing else of the directory is its business.
GRANT SELECT (number, id, deleted) ON tenants TO chatapi_tenant;

CREATE TABLE api_keys (
    id        text COLLATE "C" PRIMARY KEY,
    tenant    bigint NOT NULL REFERENCES tenants (number),
    name      text NOT NULL,
    hash      bytea NOT NULL UNIQUE, -- SHA-256 of the key
    created   bigint NOT NULL,
    last_used bigint,
    revoked   bigint
);

CREATE INDEX api_keys_tenant ON api_keys (tenant);

CREATE TABLE signing_keys (
    id        text COLLATE "C" PRIMARY KEY, -- the kid of its tokens
    tenant    bigint NOT NULL REFERENCES tenants (number),
    name      text NOT NULL,
    secret    bytea NOT NULL, -- sealed
    created   bigint NOT NULL,
    last_used bigint,
    revoked   bigint
);

CREATE INDEX signing_keys_tenant ON signing_keys (tenant);

CREATE TABLE users (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     bigint NOT NULL,
    id         text COLLATE "C" NOT NULL,
    kind       bigint NOT NULL DEFAULT 1, -- 1 user, 2 bot, 3 system
    user_rev   bigint NOT NULL DEFAULT 0, -- +1 for every change of the user's memberships
    name       text,
    avatar_url text,
    metadata   bytea,
    UNIQUE (tenant, id)
);

CREATE TABLE devices (
    tenant   bigint NOT NULL,
    user_no  bigint NOT NULL,
    device   text COLLATE "C" NOT NULL,
    seen     bigint NOT NULL,
    user_rev bigint NOT NULL, -- of the user, as far as the device has learned
    PRIMARY KEY (user_no, device)
);

CREATE INDEX devices_seen ON devices (seen);

CREATE TABLE rooms (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid NOT NULL UNIQUE, -- unique across tenants
    tenant     bigint NOT NULL,
    type       text NOT NULL,
    first_seq  bigint NOT NULL,
    last_seq   bigint NOT NULL,
    last_rev   bigint NOT NULL,
    changes    bigint NOT NULL, -- rows of room_changes there ever were: last_rev - last_seq
    active     bigint NOT NULL, -- time of the latest message, or of creation
    created    bigint NOT NULL,
    deleted    bigint,
    handoff    bigint NOT NULL DEFAULT 0,
    assignee   bigint,
    unique_key text COLLATE "C",
    name       text,
    metadata   bytea
) WITH (fillfactor = 70); -- the counters change with every message

CREATE UNIQUE INDEX rooms_key ON rooms (tenant, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX rooms_active ON rooms (tenant, active, number);

-- A membership is never deleted: its state changes, so that an absent device learns of a removal.
CREATE TABLE members (
    tenant     bigint NOT NULL,
    room       bigint NOT NULL,
    user_no    bigint NOT NULL,
    role       text NOT NULL,
    state      bigint NOT NULL, -- 1 active, 2 left
    joined_at  bigint NOT NULL,
    place      bigint NOT NULL, -- order of joining, among those who joined in the same millisecond
    joined_seq bigint NOT NULL,
    joined_rev bigint NOT NULL,
    left_seq   bigint NOT NULL DEFAULT 0,
    left_rev   bigint NOT NULL DEFAULT 0,
    user_rev   bigint NOT NULL, -- the user's counter at the latest change of this membership
    PRIMARY KEY (room, user_no)
);

CREATE INDEX members_joined ON members (room, joined_at, place) WHERE state = 1;
CREATE INDEX members_user ON members (user_no, state, user_rev);

CREATE TABLE messages (
    tenant      bigint NOT NULL,
    room        bigint NOT NULL,
    seq         bigint NOT NULL,
    id          uuid NOT NULL,
    sender      bigint NOT NULL, -- users.number
    sender_type bigint NOT NULL, -- 1 user, 2 bot, 3 system
    first_rev   bigint NOT NULL, -- the position it was stored at
    rev         bigint,          -- the position of its latest change, NULL while there is none
    client_id   text COLLATE "C",
    fingerprint bytea,           -- 16 bytes of the original send, set with client_id
    reply_to    uuid,
    body        bytea NOT NULL,  -- content and meta, opaque
    created     bigint NOT NULL,
    edited      bigint,
    deleted     bigint,
    PRIMARY KEY (room, seq)
);

CREATE UNIQUE INDEX messages_id ON messages (id);
CREATE UNIQUE INDEX messages_client ON messages (room, sender, client_id) WHERE client_id IS NOT NULL;

-- Every step of a room's log that is not a message. rev - n messages lie below a row.
CREATE TABLE room_changes (
    tenant   bigint NOT NULL,
    room     bigint NOT NULL,
    rev      bigint NOT NULL,
    n        bigint NOT NULL, -- the how-manieth change of the room
    seq_then bigint NOT NULL,
    kind     bigint NOT NULL,
    target   bigint,          -- users.number or seq, by kind
    at       bigint NOT NULL,
    PRIMARY KEY (room, rev)
);

CREATE TABLE marks (
    tenant        bigint NOT NULL,
    user_no       bigint NOT NULL,
    room          bigint NOT NULL,
    device        text COLLATE "C" NOT NULL,
    delivered_seq bigint NOT NULL,
    delivered_rev bigint NOT NULL,
    PRIMARY KEY (user_no, room, device)
) WITH (fillfactor = 70);

CREATE INDEX marks_device ON marks (user_no, device); -- to forget a device

CREATE TABLE idempotency (
    tenant   bigint NOT NULL,
    user_id  text COLLATE "C" NOT NULL, -- empty: the tenant's backend
    key      bytea NOT NULL, -- SHA-256
    request  bytea NOT NULL, -- SHA-256
    status   bigint NOT NULL,
    resource text NOT NULL,
    created  bigint NOT NULL,
    PRIMARY KEY (tenant, user_id, key)
);

CREATE INDEX idempotency_created ON idempotency (created);

CALL chatapi_wall('users');
CALL chatapi_wall('devices');
CALL chatapi_wall('rooms');
CALL chatapi_wall('members');
CALL chatapi_wall('messages');
CALL chatapi_wall('room_changes');
CALL chatapi_wall('marks');
CALL chatapi_wall('idempotency');

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
DROP PROCEDURE chatapi_wall;
-- +goose StatementBegin
DO $$
BEGIN -- the roles may be another database's too
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE ALL ON TABLES FROM chatapi_operator', current_schema());
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM chatapi_tenant, chatapi_operator', current_schema());
END
$$;
-- +goose StatementEnd
