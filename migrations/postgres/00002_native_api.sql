-- +goose Up

ALTER TABLE rooms ADD COLUMN members bigint NOT NULL DEFAULT 0; -- how many are in it now

-- A removed room (deleted is set) loses what it held in steps: purge_user is the last user whose membership was dealt
-- with, purged the time when nothing but the room's row and its memberships was left.
ALTER TABLE rooms ADD COLUMN purge_user bigint NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN purged bigint;

CREATE INDEX rooms_removed ON rooms (deleted) WHERE deleted IS NOT NULL AND purged IS NULL;
CREATE INDEX rooms_tombstones ON rooms (purged) WHERE purged IS NOT NULL;

-- The read mark is the user's, whatever the device.
ALTER TABLE members ADD COLUMN read_seq bigint NOT NULL DEFAULT 0;

CREATE INDEX members_admins ON members (room) WHERE state = 1 AND role = 'admin';

-- The position of a membership's latest change.
ALTER TABLE members ADD COLUMN rev bigint NOT NULL DEFAULT 0;

-- For those who come back and want of each target's changes only the latest.
CREATE INDEX messages_changed ON messages (room, rev) WHERE rev IS NOT NULL;
CREATE INDEX room_changes_others ON room_changes (room, rev) WHERE kind < 7;
CREATE INDEX room_changes_updates ON room_changes (room, rev) WHERE kind = 2;

ALTER TABLE users ADD COLUMN seen bigint; -- when the user's last socket closed

CREATE TABLE usage (
    tenant       bigint NOT NULL,
    month        text COLLATE "C" NOT NULL, -- 2006-01
    messages     bigint NOT NULL,
    requests     bigint NOT NULL,
    rate_limited bigint NOT NULL,
    sockets      bigint NOT NULL,
    PRIMARY KEY (tenant, month)
);

-- +goose Down

DROP TABLE usage;
ALTER TABLE users DROP COLUMN seen;
DROP INDEX room_changes_updates;
DROP INDEX room_changes_others;
DROP INDEX messages_changed;
ALTER TABLE members DROP COLUMN rev;
ALTER TABLE members DROP COLUMN read_seq;
DROP INDEX members_admins;
DROP INDEX rooms_tombstones;
DROP INDEX rooms_removed;
ALTER TABLE rooms DROP COLUMN purged;
ALTER TABLE rooms DROP COLUMN purge_user;
ALTER TABLE rooms DROP COLUMN members;
