-- +goose Up

-- What backends have to say to users.
CREATE TABLE notifications (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant  bigint NOT NULL,
    id      uuid NOT NULL,
    topic   text COLLATE "C" NOT NULL,
    created bigint NOT NULL,
    total   bigint NOT NULL, -- recipients and endpoints, once it is expanded
    body    bytea,           -- the payload, opaque; NULL when nobody waits for it
    UNIQUE (tenant, id)
);

CREATE INDEX notifications_created ON notifications (created);

-- How far the targets of a notification have been dealt with; gone when all have.
CREATE TABLE expansions (
    notification bigint PRIMARY KEY,
    tenant       bigint NOT NULL,
    created      bigint NOT NULL, -- the notification's
    stage        bigint NOT NULL, -- 1 users named, 2 members of the room, 3 subscribers
    place        bigint NOT NULL, -- in the stage: how many users, the last member, the last subscription
    total        bigint NOT NULL, -- recipients and endpoints so far
    room         bigint NOT NULL, -- 0: none
    rev          bigint NOT NULL, -- the room's position when the notification was made
    subscribers  bigint NOT NULL, -- the last subscription when it was made; 0: subscribers are no targets
    users        text NOT NULL    -- those named, JSON
);

CREATE INDEX expansions_created ON expansions (created);

-- Who has not acknowledged which notification.
CREATE TABLE notices (
    tenant       bigint NOT NULL,
    notification bigint NOT NULL,
    user_no      bigint NOT NULL,
    place        bigint NOT NULL, -- in the order of the tenant's notices; one step's recipients share it
    PRIMARY KEY (notification, user_no)
);

CREATE UNIQUE INDEX notices_user ON notices (user_no, place);

CREATE TABLE notice_places (
    tenant bigint PRIMARY KEY,
    last   bigint NOT NULL
);

CREATE TABLE subscriptions (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant   bigint NOT NULL,
    id       uuid NOT NULL,
    user_no  bigint NOT NULL, -- 0: the tenant's backend
    topic    text COLLATE "C" NOT NULL,
    endpoint text COLLATE "C" NOT NULL, -- empty: the user's sockets
    created  bigint NOT NULL,
    metadata bytea,
    UNIQUE (tenant, id)
);

-- Endpoints are up to 2 KiB long: a hash keeps the index narrow. The encoding of a database does not change, which
-- convert_to itself leaves open.
CREATE FUNCTION chatapi_digest(said text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT sha256(convert_to(said, 'UTF8')) $$;

CREATE UNIQUE INDEX subscriptions_same ON subscriptions (tenant, user_no, topic, chatapi_digest(endpoint));
CREATE INDEX subscriptions_endpoints ON subscriptions (tenant) WHERE endpoint <> '';
CREATE INDEX subscriptions_topic ON subscriptions (tenant, topic, number);
CREATE INDEX subscriptions_all ON subscriptions (tenant, number);

CALL chatapi_wall('notifications');
CALL chatapi_wall('expansions');
CALL chatapi_wall('notices');
CALL chatapi_wall('notice_places');
CALL chatapi_wall('subscriptions');

-- +goose Down

DROP TABLE subscriptions;
DROP FUNCTION chatapi_digest;
DROP TABLE notice_places;
DROP TABLE notices;
DROP TABLE expansions;
DROP TABLE notifications;
