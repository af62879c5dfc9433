-- Devices that are not approved, by their addresses: how many there are, and how many of each.
DROP INDEX device_waiting;
CREATE INDEX device_waiting ON device (address, state) WHERE state <> 'approved';
