-- +goose Up

-- What backends have to say to users. The body comes last: what is asked most does not read as far.
CREATE TABLE notifications (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant  INTEGER NOT NULL,
    id      BLOB NOT NULL, -- 16 bytes
    topic   TEXT NOT NULL,
    created INTEGER NOT NULL,
    total   INTEGER NOT NULL, -- recipients and endpoints, once it is expanded
    body    BLOB,             -- the payload, opaque; NULL when nobody waits for it
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX notifications_created ON notifications (created);

-- How far the targets of a notification have been dealt with; gone when all have.
CREATE TABLE expansions (
    notification INTEGER PRIMARY KEY,
    tenant       INTEGER NOT NULL,
    created      INTEGER NOT NULL, -- the notification's
    stage        INTEGER NOT NULL, -- 1 users named, 2 members of the room, 3 subscribers
    place        INTEGER NOT NULL, -- in the stage: how many users, the last member, the last subscription
    total        INTEGER NOT NULL, -- recipients and endpoints so far
    room         INTEGER NOT NULL, -- 0: none
    rev          INTEGER NOT NULL, -- the room's position when the notification was made
    subscribers  INTEGER NOT NULL, -- the last subscription when it was made; 0: subscribers are no targets
    users        TEXT NOT NULL     -- those named, JSON
) STRICT;

CREATE INDEX expansions_created ON expansions (created);

-- Who has not acknowledged which notification.
CREATE TABLE notices (
    notification INTEGER NOT NULL,
    user         INTEGER NOT NULL,
    place        INTEGER NOT NULL, -- in the order of the tenant's notices; one step's recipients share it
    PRIMARY KEY (notification, user)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX notices_user ON notices (user, place);

CREATE TABLE notice_places (
    tenant INTEGER PRIMARY KEY,
    last   INTEGER NOT NULL
) STRICT;

CREATE TABLE subscriptions (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant   INTEGER NOT NULL,
    id       BLOB NOT NULL,    -- 16 bytes
    user     INTEGER NOT NULL, -- 0: the tenant's backend
    topic    TEXT NOT NULL,
    endpoint TEXT NOT NULL,    -- empty: the user's sockets
    created  INTEGER NOT NULL,
    metadata BLOB,
    UNIQUE (tenant, id),
    UNIQUE (tenant, user, topic, endpoint)
) STRICT;

CREATE INDEX subscriptions_all ON subscriptions (tenant);
CREATE INDEX subscriptions_user ON subscriptions (tenant, user);
CREATE INDEX subscriptions_endpoints ON subscriptions (tenant) WHERE endpoint <> '';
CREATE INDEX subscriptions_topic ON subscriptions (tenant, topic);

-- +goose Down

DROP TABLE subscriptions;
DROP TABLE notice_places;
DROP TABLE notices;
DROP TABLE expansions;
DROP TABLE notifications;
