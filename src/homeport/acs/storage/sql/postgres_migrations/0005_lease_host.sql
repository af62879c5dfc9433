-- The address of a device that does not give the cookie back: by it another process finds its session.
ALTER TABLE lease ADD COLUMN host TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX lease_host ON lease (host) WHERE host <> '';
