-- The first layout. Each file in this directory is applied once, in order, inside one transaction; the table `layout` counts them.
-- Text sorts by its bytes (COLLATE "C") so that every store gives the same order, whatever the server's locale is.

-- Which files were applied.
CREATE TABLE layout (number INTEGER PRIMARY KEY, applied TIMESTAMPTZ NOT NULL DEFAULT now());

-- The hot row of a device: what lists show and conditions ask for has a column, the rest is one small MessagePack map.
CREATE TABLE device (
    key BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    state TEXT COLLATE "C" NOT NULL,
    first_seen DOUBLE PRECISION NOT NULL,
    last_inform DOUBLE PRECISION NOT NULL,
    oui TEXT COLLATE "C" NOT NULL,
    product_class TEXT COLLATE "C" NOT NULL,
    serial_number TEXT COLLATE "C" NOT NULL,
    manufacturer TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    software_version TEXT COLLATE "C" NOT NULL,
    hardware_version TEXT COLLATE "C" NOT NULL,
    provisioning_code TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    tags TEXT COLLATE "C" NOT NULL, -- |gold|north|
    rest BYTEA NOT NULL
) WITH (fillfactor = 80); -- room for the new version of a row beside the old one: no index is touched by most updates
CREATE INDEX device_model ON device (model, software_version);
CREATE INDEX device_waiting ON device (state) WHERE state <> 'approved';

-- Paths, types and access, shared by all devices that have the same ones.
CREATE TABLE path_list (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used twice: the lists are cached by id
    hash BYTEA NOT NULL UNIQUE,
    paths BYTEA NOT NULL
);

-- The values of one device, in the order of its path list.
CREATE TABLE device_values (
    device BIGINT PRIMARY KEY REFERENCES device (key) ON DELETE CASCADE,
    path_list BIGINT NOT NULL REFERENCES path_list (id),
    vals BYTEA NOT NULL
);
CREATE INDEX device_values_path_list ON device_values (path_list);

-- What changed since; folded into the values from time to time.
CREATE TABLE device_delta (
    device BIGINT PRIMARY KEY REFERENCES device (key) ON DELETE CASCADE,
    vals BYTEA NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE task (
    id TEXT COLLATE "C" PRIMARY KEY,
    device TEXT COLLATE "C" NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    status TEXT COLLATE "C" NOT NULL,
    phase TEXT COLLATE "C" NOT NULL,
    priority INTEGER NOT NULL,
    attempts INTEGER NOT NULL, -- a node that was overtaken is told by it
    finished DOUBLE PRECISION,
    node TEXT COLLATE "C" NOT NULL, -- which node wrote the row last
    record BYTEA NOT NULL
);
-- The due work: small however many tasks are finished.
CREATE INDEX task_open ON task (device, priority DESC, id) WHERE status IN ('queued', 'running', 'unknown');
CREATE INDEX task_running ON task (id) WHERE status = 'running';
CREATE INDEX task_device ON task (device, id);
CREATE INDEX task_finished ON task (finished) WHERE finished IS NOT NULL;

CREATE TABLE session (
    id TEXT COLLATE "C" PRIMARY KEY,
    device TEXT COLLATE "C" NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    ended DOUBLE PRECISION NOT NULL,
    record BYTEA NOT NULL,
    messages BYTEA NOT NULL -- compressed
);
CREATE INDEX session_device ON session (device, id);
CREATE INDEX session_ended ON session (ended);

CREATE TABLE event (
    id TEXT COLLATE "C" PRIMARY KEY,
    device TEXT COLLATE "C" NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX event_device ON event (device, id);
CREATE INDEX event_at ON event (at);

CREATE TABLE fault (
    id TEXT COLLATE "C" PRIMARY KEY,
    device TEXT COLLATE "C" NOT NULL REFERENCES device (id) ON DELETE CASCADE,
    at DOUBLE PRECISION NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX fault_device ON fault (device, id);
CREATE INDEX fault_at ON fault (at);

CREATE TABLE credential (
    username TEXT COLLATE "C" PRIMARY KEY,
    device TEXT COLLATE "C" NOT NULL,
    record BYTEA NOT NULL
);
CREATE UNIQUE INDEX credential_device ON credential (device) WHERE device <> '';

CREATE TABLE token (
    digest TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    record BYTEA NOT NULL
);

CREATE TABLE file (
    name TEXT COLLATE "C" PRIMARY KEY,
    record BYTEA NOT NULL
);

CREATE TABLE secret (
    name TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- The processes that work on this database, and when each was last alive.
CREATE TABLE node (
    name TEXT COLLATE "C" PRIMARY KEY,
    seen TIMESTAMPTZ NOT NULL
);
