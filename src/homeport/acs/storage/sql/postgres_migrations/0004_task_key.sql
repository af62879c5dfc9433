-- The idempotency key under which a task was made, so that two nodes that are told the same wish at once make one task of it.
ALTER TABLE task ADD COLUMN key TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX task_key ON task (device, key) WHERE key <> '';
