-- +goose Up

-- A tenant's rooms by activity, its chats apart: of those there may be a thousand times as many, and lists of rooms leave
-- them out.
CREATE INDEX rooms_native ON rooms (tenant, active, number) WHERE type <> 'chat';
CREATE INDEX rooms_chats ON rooms (tenant, active, number) WHERE type = 'chat';
DROP INDEX rooms_active;

-- +goose Down

CREATE INDEX rooms_active ON rooms (tenant, active, number);
DROP INDEX rooms_chats;
DROP INDEX rooms_native;
