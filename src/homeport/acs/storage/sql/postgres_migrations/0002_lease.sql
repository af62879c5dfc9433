-- Sessions that another process may continue: one at most per device. A row is there while a change is on its way to the device, and
-- from a hand-over on.
CREATE TABLE lease (
    device TEXT COLLATE "C" PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    session TEXT COLLATE "C" NOT NULL,
    cookie TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL, -- the process that has the session, '' where none has
    until DOUBLE PRECISION NOT NULL, -- seconds since 1970
    state BYTEA NOT NULL
);
CREATE INDEX lease_cookie ON lease (cookie);
CREATE INDEX lease_until ON lease (until);
