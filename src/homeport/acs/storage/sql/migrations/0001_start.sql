-- The first layout. Each file in this directory is applied once, in order, inside one transaction; PRAGMA user_version counts them.

-- The hot row of a device: what lists show and conditions ask for has a column, the rest is one small MessagePack map.
CREATE TABLE device (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    first_seen REAL NOT NULL,
    last_inform REAL NOT NULL,
    oui TEXT NOT NULL,
    product_class TEXT NOT NULL,
    serial_number TEXT NOT NULL,
    manufacturer TEXT NOT NULL,
    model TEXT NOT NULL,
    software_version TEXT NOT NULL,
    hardware_version TEXT NOT NULL,
    provisioning_code TEXT NOT NULL,
    address TEXT NOT NULL,
    tags TEXT NOT NULL, -- |gold|north|, so that one tag is found with LIKE
    rest BLOB NOT NULL
);
CREATE INDEX device_model ON device (model, software_version);
CREATE INDEX device_waiting ON device (state) WHERE state <> 'approved';

-- Paths, types and access, shared by all devices that have the same ones.
CREATE TABLE path_list (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: the lists are cached by id
    hash BLOB NOT NULL UNIQUE,
    paths BLOB NOT NULL
);

-- The values of one device, in the order of its path list.
CREATE TABLE device_values (
    device INTEGER PRIMARY KEY REFERENCES device (key) ON DELETE CASCADE,
    path_list INTEGER NOT NULL REFERENCES path_list (id),
    vals BLOB NOT NULL
);
CREATE INDEX device_values_path_list ON device_values (path_list);

-- What changed since; folded into the values from time to time.
CREATE TABLE device_delta (
    device INTEGER PRIMARY KEY REFERENCES device (key) ON DELETE CASCADE,
    vals BLOB NOT NULL
);

CREATE TABLE task (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    phase TEXT NOT NULL,
    priority INTEGER NOT NULL,
    finished REAL,
    record BLOB NOT NULL
) WITHOUT ROWID;
-- The due work: small however many tasks are finished.
CREATE INDEX task_open ON task (device, priority DESC, id) WHERE status IN ('queued', 'running', 'unknown');
CREATE INDEX task_device ON task (device, id);
CREATE INDEX task_finished ON task (finished) WHERE finished IS NOT NULL;

CREATE TABLE session (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    ended REAL NOT NULL,
    record BLOB NOT NULL,
    messages BLOB NOT NULL -- compressed
);
CREATE INDEX session_device ON session (device, id);
CREATE INDEX session_ended ON session (ended);

CREATE TABLE event (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX event_device ON event (device, id);
CREATE INDEX event_at ON event (at);

CREATE TABLE fault (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    at REAL NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX fault_device ON fault (device, id);
CREATE INDEX fault_at ON fault (at);

CREATE TABLE credential (
    username TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX credential_device ON credential (device) WHERE device <> '';

CREATE TABLE token (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    record BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE file (
    name TEXT PRIMARY KEY,
    record BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE secret (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
