-- What changed since a device's values were written goes into its row: an Inform then reads and writes one row, and not two.
ALTER TABLE device ADD COLUMN delta BLOB;
UPDATE device SET delta = (SELECT vals FROM device_delta x WHERE x.device = device.key);
DROP TABLE device_delta;
-- Backups have the deltas as a table of their own.
CREATE VIEW device_delta AS SELECT key AS device, delta AS vals FROM device WHERE delta IS NOT NULL;
CREATE TRIGGER device_delta_put INSTEAD OF INSERT ON device_delta
BEGIN
    UPDATE device SET delta = NEW.vals WHERE key = NEW.device;
END;
