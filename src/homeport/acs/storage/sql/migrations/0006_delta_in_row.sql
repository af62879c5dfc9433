-- Results of tasks are too long for a table without row numbers, which keeps at most a quarter of a page beside the key.
CREATE TABLE task_new (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    phase TEXT NOT NULL,
    priority INTEGER NOT NULL,
    finished REAL,
    record BLOB NOT NULL
);
INSERT INTO task_new SELECT id, device, status, phase, priority, finished, record FROM task;
DROP TABLE task;
ALTER TABLE task_new RENAME TO task;
CREATE INDEX task_open ON task (device, priority DESC, id) WHERE status IN ('queued', 'running', 'unknown');
CREATE INDEX task_device ON task (device, id);
CREATE INDEX task_finished ON task (finished) WHERE finished IS NOT NULL;

-- What changed since a device's values were written goes into its row: an Inform then reads and writes one row, and not two.
-- Its paths, types and access are shared by the devices whose Informs are alike, as those of the values are; where delta_form is NULL
-- the delta names its paths itself.
CREATE TABLE delta_form (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    paths BLOB NOT NULL
);
ALTER TABLE device ADD COLUMN delta_form INTEGER;
ALTER TABLE device ADD COLUMN delta BLOB;
UPDATE device SET delta = (SELECT vals FROM device_delta x WHERE x.device = device.key);
DROP TABLE device_delta;
-- Backups have the deltas as a table of their own, with their paths in each; this is where they come back.
CREATE VIEW device_delta AS SELECT key AS device, delta AS vals FROM device WHERE delta IS NOT NULL;
CREATE TRIGGER device_delta_put INSTEAD OF INSERT ON device_delta
BEGIN
    UPDATE device SET delta = NEW.vals, delta_form = NULL WHERE key = NEW.device;
END;
