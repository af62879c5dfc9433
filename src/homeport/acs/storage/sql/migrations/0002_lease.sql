-- Sessions that another process may continue: one at most per device. A row is there while a change is on its way to the device, and
-- from a hand-over on.
CREATE TABLE lease (
    device TEXT PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
    session TEXT NOT NULL,
    cookie TEXT NOT NULL,
    node TEXT NOT NULL, -- the process that has the session, '' where none has
    until REAL NOT NULL, -- seconds since 1970
    state BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX lease_cookie ON lease (cookie);
CREATE INDEX lease_until ON lease (until);
