-- +goose Up

ALTER TABLE rooms ADD COLUMN members INTEGER NOT NULL DEFAULT 0; -- how many are in it now
UPDATE rooms SET members = (SELECT count(*) FROM members m WHERE m.room = rooms.number AND m.state = 1);

-- A removed room (deleted is set) loses what it held in steps: purge_user is the last user whose membership was dealt
-- with, purged the time when nothing but the room's row and its memberships was left.
ALTER TABLE rooms ADD COLUMN purge_user INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN purged INTEGER;

CREATE INDEX rooms_removed ON rooms (deleted) WHERE deleted IS NOT NULL AND purged IS NULL;
CREATE INDEX rooms_tombstones ON rooms (purged) WHERE purged IS NOT NULL;

-- The read mark is the user's, whatever the device.
ALTER TABLE members ADD COLUMN read_seq INTEGER NOT NULL DEFAULT 0;
UPDATE members SET read_seq = coalesce(
    (SELECT max(k.read_seq) FROM marks k WHERE k.user = members.user AND k.room = members.room), 0);
ALTER TABLE marks DROP COLUMN read_seq;

CREATE INDEX members_admins ON members (room) WHERE state = 1 AND role = 'admin';

-- The position of a membership's latest change.
ALTER TABLE members ADD COLUMN rev INTEGER NOT NULL DEFAULT 0;
UPDATE members SET rev = c.rev FROM (SELECT room, target, max(rev) AS rev FROM room_changes
    WHERE kind BETWEEN 4 AND 6 GROUP BY room, target) c WHERE members.room = c.room AND members.user = c.target;

-- For those who come back and want of each target's changes only the latest.
CREATE INDEX messages_changed ON messages (pos >> 36, rev) WHERE rev IS NOT NULL;
CREATE INDEX room_changes_others ON room_changes (room, rev, kind, target, at) WHERE kind < 7;
CREATE INDEX room_changes_updates ON room_changes (room, rev) WHERE kind = 2;

ALTER TABLE users ADD COLUMN seen INTEGER; -- when the user's last socket closed

CREATE TABLE usage (
    tenant       INTEGER NOT NULL,
    month        TEXT NOT NULL, -- 2006-01
    messages     INTEGER NOT NULL,
    requests     INTEGER NOT NULL,
    rate_limited INTEGER NOT NULL,
    sockets      INTEGER NOT NULL,
    PRIMARY KEY (tenant, month)
) STRICT, WITHOUT ROWID;

-- +goose Down

DROP TABLE usage;
ALTER TABLE users DROP COLUMN seen;
DROP INDEX room_changes_updates;
DROP INDEX room_changes_others;
DROP INDEX messages_changed;
ALTER TABLE members DROP COLUMN rev;
ALTER TABLE marks ADD COLUMN read_seq INTEGER NOT NULL DEFAULT 0;
UPDATE marks SET read_seq = coalesce(
    (SELECT m.read_seq FROM members m WHERE m.room = marks.room AND m.user = marks.user), 0);
ALTER TABLE members DROP COLUMN read_seq;
DROP INDEX members_admins;
DROP INDEX rooms_tombstones;
DROP INDEX rooms_removed;
ALTER TABLE rooms DROP COLUMN purged;
ALTER TABLE rooms DROP COLUMN purge_user;
ALTER TABLE rooms DROP COLUMN members;
