-- +goose Up

-- Calls out of the process that are to be made. Times are milliseconds of the store's own time (outbox_state), which
-- is not the time of day. What ids name may be gone.
CREATE TABLE outbox (
    tenant       bigint NOT NULL,
    id           uuid NOT NULL,
    event        uuid NOT NULL,
    lane         text COLLATE "C" NOT NULL,
    room         uuid,
    message      uuid,
    notification uuid,
    subscription uuid,
    created      bigint NOT NULL,
    due          bigint NOT NULL,
    ready        bigint NOT NULL, -- when it is handed out next: due, or the end of the lease
    fence        bigint,          -- of the claim that holds it, NULL when none does
    step         bigint NOT NULL,
    after        text COLLATE "C" NOT NULL, -- with through: places of the present call
    through      text COLLATE "C" NOT NULL,
    attempts     bigint NOT NULL,
    last_attempt bigint,          -- NULL: none
    last_error   text NOT NULL,
    once         bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE INDEX outbox_ready ON outbox (lane, tenant, ready);
CREATE INDEX outbox_age ON outbox (lane, tenant, created);
CREATE INDEX outbox_held ON outbox (lane, tenant, ready, fence) WHERE fence IS NOT NULL;
CREATE INDEX outbox_room ON outbox (tenant, room) WHERE room IS NOT NULL;
CREATE INDEX outbox_notification ON outbox (tenant, notification) WHERE notification IS NOT NULL;

-- The store's own time, which only rises, and the fences of claims.
CREATE TABLE outbox_state (
    one bigint PRIMARY KEY CHECK (one = 1),
    now bigint NOT NULL,
    at  bigint NOT NULL -- the time of day by the server's clock when it was now
);

INSERT INTO outbox_state VALUES (1, 0, 0);

CREATE SEQUENCE outbox_fences;
GRANT USAGE ON SEQUENCE outbox_fences TO chatapi_operator, chatapi_tenant;

-- Deliveries that were given up. The job is as it was, its times those of the day.
CREATE TABLE dead_letters (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the newest has the highest
    tenant       bigint NOT NULL,
    id           uuid NOT NULL,
    job          uuid NOT NULL,
    event        uuid NOT NULL,
    lane         text COLLATE "C" NOT NULL,
    room         uuid,
    message      uuid,
    notification uuid,
    subscription uuid,
    created      bigint NOT NULL,
    due          bigint NOT NULL,
    step         bigint NOT NULL,
    after        text COLLATE "C" NOT NULL,
    through      text COLLATE "C" NOT NULL,
    job_attempts bigint NOT NULL,
    last_attempt bigint,       -- of the job, like last_error
    last_error   text NOT NULL,
    once         bigint NOT NULL,
    user_id      text COLLATE "C", -- NULL: several, or the tenant's backend
    from_seq     bigint NOT NULL,
    to_seq       bigint NOT NULL,
    attempts     bigint NOT NULL,
    attempted    bigint, -- the last time, NULL: never
    error        text NOT NULL,
    at           bigint NOT NULL,
    UNIQUE (tenant, id)
);

CREATE INDEX dead_letters_messages ON dead_letters (tenant, number) WHERE notification IS NULL;
CREATE INDEX dead_letters_notifications ON dead_letters (tenant, number) WHERE notification IS NOT NULL;
CREATE INDEX dead_letters_notification ON dead_letters (tenant, notification) WHERE notification IS NOT NULL;
CREATE INDEX dead_letters_room ON dead_letters (tenant, room) WHERE room IS NOT NULL;
CREATE INDEX dead_letters_run ON dead_letters (tenant, user_id, room) WHERE lane = 'socket' AND room IS NOT NULL;
CREATE INDEX dead_letters_runs ON dead_letters (tenant, number) WHERE lane = 'socket' AND room IS NOT NULL;
CREATE INDEX dead_letters_at ON dead_letters (at);

ALTER TABLE tenants ADD COLUMN dead_letters bigint NOT NULL DEFAULT 0; -- how many there are of the tenant
GRANT SELECT (dead_letters), UPDATE (dead_letters) ON tenants TO chatapi_tenant;
GRANT SELECT ON outbox_state TO chatapi_tenant;

CALL chatapi_wall('outbox');
CALL chatapi_wall('dead_letters');

-- +goose Down

REVOKE UPDATE (dead_letters) ON tenants FROM chatapi_tenant;
ALTER TABLE tenants DROP COLUMN dead_letters;
DROP TABLE dead_letters;
DROP SEQUENCE outbox_fences;
DROP TABLE outbox_state;
DROP TABLE outbox;
