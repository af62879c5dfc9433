-- Every query of the PostgreSQL store. The line `-- name:` names the one below it.

-- Hot row, delta, open tasks and login of some devices, in one step: what an Inform needs.
-- name: views
SELECT d.key, d.id, d.state, d.first_seen, d.last_inform, d.oui, d.product_class, d.serial_number, d.manufacturer, d.model,
       d.software_version, d.hardware_version, d.provisioning_code, d.address, d.tags, d.rest, v.vals,
       ARRAY(SELECT t.record FROM task t WHERE t.device = d.id AND t.status IN ('queued', 'running', 'unknown')
             ORDER BY t.priority DESC, t.id),
       (SELECT c.record FROM credential c WHERE c.device = d.id AND c.device <> '')
FROM device d LEFT JOIN device_delta v ON v.device = d.key
WHERE d.id = ANY($1::text[]);

-- The devices of a group of units, held until its end: always in the same order, so that two nodes never wait for each other.
-- name: lock_devices
SELECT d.key, d.id, d.state, d.first_seen, d.last_inform, d.oui, d.product_class, d.serial_number, d.manufacturer, d.model,
       d.software_version, d.hardware_version, d.provisioning_code, d.address, d.tags, d.rest
FROM device d
WHERE d.id = ANY($1::text[]) ORDER BY d.id FOR NO KEY UPDATE;

-- The deltas of locked devices: read after the lock was had, because what another node wrote meanwhile would not be seen before.
-- name: deltas
SELECT d.id, v.vals FROM device d JOIN device_delta v ON v.device = d.key WHERE d.id = ANY($1::text[]);

-- How tasks stand now, held until the end of the group.
-- name: lock_tasks
SELECT id, status, attempts, device FROM task WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE;

-- Devices in the order of their ids; the caller puts its condition in.
-- name: devices
SELECT d.key, d.id, d.state, d.first_seen, d.last_inform, d.oui, d.product_class, d.serial_number, d.manufacturer, d.model,
       d.software_version, d.hardware_version, d.provisioning_code, d.address, d.tags, d.rest, NULL::bytea
FROM device d
WHERE d.id > $1 AND (/*where*/)
ORDER BY d.id LIMIT $2;

-- How many tasks are open, the oldest of them, and what the database takes.
-- name: figures
SELECT count(*), min(id), pg_database_size(current_database()) FROM task WHERE status IN ('queued', 'running', 'unknown');

-- How many devices there are.
-- name: device_count
SELECT count(*) FROM device;

-- How many devices are not approved, counted to a limit: from the small index of those.
-- name: unapproved_count
SELECT count(*) FROM (SELECT 1 FROM device WHERE state <> 'approved' LIMIT $1) AS few;

-- How many of them each address has: by the same index.
-- name: unapproved_addresses
SELECT address, count(*) FROM device WHERE state <> 'approved' GROUP BY address;

-- A device that was never seen before.
-- name: insert_device
INSERT INTO device (state, first_seen, last_inform, oui, product_class, serial_number, manufacturer, model, software_version,
                    hardware_version, provisioning_code, address, tags, rest, id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- The hot row of a known device, written whole.
-- name: update_device
UPDATE device SET state = $1, first_seen = $2, last_inform = $3, oui = $4, product_class = $5, serial_number = $6,
                  manufacturer = $7, model = $8, software_version = $9, hardware_version = $10, provisioning_code = $11,
                  address = $12, tags = $13, rest = $14
WHERE id = $15;

-- Only the time of the last Inform, of many devices: by far the most frequent write.
-- name: seen_devices
UPDATE device d SET last_inform = n.at FROM unnest($1::text[], $2::float8[]) AS n (id, at) WHERE d.id = n.id;

-- A device and, by the foreign keys, everything that belongs to it.
-- name: delete_device
DELETE FROM device WHERE id = $1;

-- The credentials of a deleted device.
-- name: delete_device_credentials
DELETE FROM credential WHERE device = $1;

-- The values of some devices with their path lists and deltas.
-- name: values
SELECT d.id, v.path_list, v.vals, x.vals FROM device d
LEFT JOIN device_values v ON v.device = d.key LEFT JOIN device_delta x ON x.device = d.key
WHERE d.id = ANY($1::text[]);

-- How long they are, their path lists, and how long these are: told without reading them.
-- name: values_sizes
SELECT d.id, coalesce(octet_length(v.vals), 0) + coalesce(octet_length(x.vals), 0), v.path_list, coalesce(octet_length(p.paths), 0)
FROM device d LEFT JOIN device_values v ON v.device = d.key LEFT JOIN path_list p ON p.id = v.path_list
LEFT JOIN device_delta x ON x.device = d.key
WHERE d.id = ANY($1::text[]);

-- The values of one device with the path list itself, all of one moment.
-- name: stored_blobs
SELECT v.path_list, p.paths, v.vals, x.vals FROM device d
LEFT JOIN device_values v ON v.device = d.key LEFT JOIN path_list p ON p.id = v.path_list
LEFT JOIN device_delta x ON x.device = d.key
WHERE d.id = $1;

-- How long the values of a device are, which is told without reading them.
-- name: values_size
SELECT octet_length(v.vals) FROM device d JOIN device_values v ON v.device = d.key WHERE d.id = $1;

-- Shared path lists.
-- name: path_lists
SELECT id, paths FROM path_list WHERE id = ANY($1::bigint[]);

-- Path lists by their hash, kept from being pruned until the end of the group.
-- name: known_path_lists
SELECT hash FROM path_list WHERE hash = ANY($1::bytea[]) FOR KEY SHARE;

-- A path list; one that another node made in this moment is as good.
-- name: insert_path_list
INSERT INTO path_list (hash, paths) VALUES ($1, $2) ON CONFLICT (hash) DO UPDATE SET hash = excluded.hash;

-- All values of a device.
-- name: put_values
INSERT INTO device_values (device, path_list, vals)
SELECT d.key, p.id, $3 FROM device d, path_list p WHERE d.id = $1 AND p.hash = $2
ON CONFLICT (device) DO UPDATE SET path_list = excluded.path_list, vals = excluded.vals;

-- What changed since the values were written.
-- name: put_delta
INSERT INTO device_delta (device, vals) SELECT key, $2 FROM device WHERE id = $1
ON CONFLICT (device) DO UPDATE SET vals = excluded.vals;

-- One task.
-- name: task
SELECT record FROM task WHERE id = $1;

-- The tasks of a device, youngest first.
-- name: tasks_of
SELECT id, record FROM task WHERE device = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- Tasks of all devices between two ids, in one of some statuses (NULL for any), youngest first.
-- name: tasks_all
SELECT id, record FROM task WHERE id < $1 AND id >= $2 AND ($3::text[] IS NULL OR status = ANY($3)) ORDER BY id DESC LIMIT $4;

-- The same, of one method.
-- name: tasks_of_rpc
SELECT id, record FROM task
WHERE rpc = $5 AND id < $1 AND id >= $2 AND ($3::text[] IS NULL OR status = ANY($3)) ORDER BY id DESC LIMIT $4;

-- The same, of one device, and of one method or any ('').
-- name: tasks_of_device
SELECT id, record FROM task
WHERE device = $6 AND id < $1 AND id >= $2 AND ($3::text[] IS NULL OR status = ANY($3)) AND ($5 = '' OR rpc = $5)
ORDER BY id DESC LIMIT $4;

-- Tasks of all devices in some statuses other than done, of one method or any (''), youngest first. Each status has its own part of the
-- index; the youngest of all parts together are the page.
-- name: tasks_in_status
SELECT x.id, x.record FROM unnest($3::text[]) AS s (status) CROSS JOIN LATERAL (
    SELECT t.id, t.record FROM task t
    WHERE t.status = s.status AND t.status <> 'done' AND t.id < $1 AND t.id >= $2 AND ($5 = '' OR t.rpc = $5)
    ORDER BY t.id DESC LIMIT $4) x
ORDER BY x.id DESC LIMIT $4;

-- The rows of a page (id, record), youngest first, until so many bytes are full, and how many there are in all.
-- name: until_full
SELECT p.id, p.record, p.rows FROM (
    SELECT q.id, q.record, count(*) OVER () AS rows,
        sum(octet_length(q.record)) OVER (ORDER BY q.id DESC) - octet_length(q.record) AS before
    FROM (/*query*/) q) p
WHERE p.before < /*most*/ ORDER BY p.id DESC;

-- Tasks that the clock may have ended are this node's for a while; what another node is just taking is left to it.
-- name: due_tasks
UPDATE task SET due = $1::float8 + $3::float8 WHERE id IN (
    SELECT t.id FROM task t WHERE t.due <= $1 ORDER BY t.due LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING record;

-- The tasks of a device whose end was not told in time, and may be yet.
-- name: overdue_tasks
SELECT record FROM task WHERE device = $1 AND phase = 'overdue' ORDER BY id;

-- Tasks that no living session can answer any more, and that were given to nobody lately; what another node is just taking is left to it.
-- While nobody has written such a task its node is `?` and the time at which it was given: not a node's name, which would live and
-- have it for ever, where the answer of this statement is lost or the node cannot write.
-- The living nodes are a list, not a join: a row that changed while its lock was waited for is then judged as it is now.
-- name: interrupted_tasks
UPDATE task SET node = '?' || extract(epoch FROM now())::bigint WHERE id IN (
    SELECT t.id FROM task t
    WHERE t.status = 'running' AND t.phase <> 'transfer' AND t.node <> $1
      AND t.node <> ALL (ARRAY(SELECT n.name FROM node n WHERE n.seen > now() - $3 * interval '1 second'))
      AND NOT (t.node > '?' || (extract(epoch FROM now())::bigint - $5::bigint) AND t.node < '?~')
      AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.device = t.device AND l.until > $4)
    ORDER BY t.id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING record;

-- Queued tasks of nodes that have gone become this node's, from an id on; what another node is just taking is left to it.
-- name: orphaned_tasks
UPDATE task SET node = $1 WHERE id IN (
    SELECT t.id FROM task t
    WHERE t.id >= $2 AND t.status = 'queued'
      AND t.node <> ALL (ARRAY(SELECT n.name FROM node n WHERE n.seen > now() - $4 * interval '1 second'))
    ORDER BY t.id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING record;

-- The lease of a session, by its cookie.
-- name: lease
SELECT device, session, cookie, node, until, state, host FROM lease WHERE cookie = $1;

-- The leases of sessions whose devices have not given the cookie back, by the devices' address.
-- name: leases_at
SELECT device, session, cookie, node, until, state, host FROM lease WHERE host = $1 AND host <> '';

-- A lease, in place of what the device had.
-- name: put_lease
INSERT INTO lease (device, session, cookie, node, until, state, host) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (device) DO UPDATE SET session = excluded.session, cookie = excluded.cookie, node = excluded.node,
                                   until = excluded.until, state = excluded.state, host = excluded.host;

-- A lease that is over.
-- name: release_lease
DELETE FROM lease WHERE device = $1 AND session = $2;

-- The session is another process's now, unless somebody was quicker.
-- name: take_lease
UPDATE lease SET node = $4 WHERE device = $1 AND session = $2 AND node = $3 RETURNING 1;

-- Leases whose time is over: those of this process, of nobody, and of processes that have ended.
-- name: expired_leases
DELETE FROM lease WHERE device IN (
    SELECT l.device FROM lease l
    WHERE l.until <= $1 AND l.session <> ALL ($3::text[])
      AND l.node <> ALL (ARRAY(SELECT n.name FROM node n WHERE n.name <> $4 AND n.seen > now() - $5 * interval '1 second'))
    ORDER BY l.until LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING device, session, cookie, node, until, state, host;

-- Whether a process lives: it holds this lock as long as its connection stands.
-- name: node_alive
SELECT EXISTS (
    SELECT 1 FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $2::bigint::oid AND l.objsubid = 2
      AND l.objid = (hashtext($1)::bigint & 4294967295)::oid
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()));

-- The other processes that were alive lately, and whether each still is.
-- name: nodes
SELECT n.name, (hashtext(n.name)::bigint & 4294967295)::oid = ANY (ARRAY(
    SELECT l.objid FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $2::bigint::oid AND l.objsubid = 2
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())))
FROM node n WHERE n.name <> $1 AND n.seen > now() - $3 * interval '1 second';

-- The lock by which others see that this process lives.
-- name: node_lock
SELECT pg_advisory_lock_shared($2::int, hashtext($1));

-- A word for all processes, which nobody needs after a crash: so the commit does not wait for the disk.
-- name: say
SELECT set_config('synchronous_commit', 'off', true), pg_notify('homeport_said', $1);

-- A new task; fails where the device or the id is not as it should be.
-- name: insert_task
INSERT INTO task (status, phase, priority, attempts, finished, due, node, record, id, device, key, rpc, waits_for)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- The tasks that wait for one which has just ended otherwise than done are looked at now.
-- name: forsake
UPDATE task SET due = 0 WHERE waits_for = $1 AND waits_for <> '' AND status = 'queued';

-- The same of tasks that wait for one of a device that is about to be deleted.
-- name: forsake_all_of
UPDATE task SET due = 0 WHERE waits_for <> '' AND waits_for IN (SELECT id FROM task WHERE device = $1) AND status = 'queued';

-- The same of all tasks, after a backup was restored.
-- name: forsake_all
UPDATE task SET due = 0 WHERE waits_for <> '' AND status = 'queued'
AND EXISTS (SELECT 1 FROM task p WHERE p.id = task.waits_for AND p.status IN ('failed', 'expired', 'cancelled'));

-- Tasks of locked devices that were made under these idempotency keys, the youngest last.
-- name: keyed_tasks
SELECT device, key, id, record FROM task WHERE device = ANY($1::text[]) AND key = ANY($2::text[]) AND key <> '' ORDER BY id;

-- A task that was locked and looked at before.
-- name: update_task
UPDATE task SET status = $1, phase = $2, priority = $3, attempts = $4, finished = $5, due = $6, node = $7, record = $8 WHERE id = $9;

-- The sessions of a device, youngest first, without their messages.
-- name: sessions_of
SELECT id, record FROM session WHERE device = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- One session.
-- name: session
SELECT record, messages FROM session WHERE id = $1;

-- A session that ended.
-- name: insert_session
INSERT INTO session (id, device, ended, record, messages) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET ended = excluded.ended, record = excluded.record, messages = excluded.messages;

-- The events of a device, youngest first.
-- name: events_of
SELECT id, record FROM event WHERE device = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- An event.
-- name: insert_event
INSERT INTO event (id, device, at, record) VALUES ($1, $2, $3, $4);

-- Faults of all devices, youngest first.
-- name: faults
SELECT id, record FROM fault WHERE id < $1 ORDER BY id DESC LIMIT $2;

-- Faults of one device, youngest first.
-- name: faults_of
SELECT id, record FROM fault WHERE device = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- A fault.
-- name: insert_fault
INSERT INTO fault (id, device, at, record) VALUES ($1, $2, $3, $4);

-- Sessions that are too old.
-- name: prune_sessions
DELETE FROM session WHERE id IN (SELECT o.id FROM session o WHERE o.ended < $1 LIMIT $2);

-- Events that are too old.
-- name: prune_events
DELETE FROM event WHERE id IN (SELECT o.id FROM event o WHERE o.at < $1 LIMIT $2);

-- Faults that are too old.
-- name: prune_faults
DELETE FROM fault WHERE id IN (SELECT o.id FROM fault o WHERE o.at < $1 LIMIT $2);

-- Finished tasks that are too old.
-- name: prune_tasks
DELETE FROM task WHERE id IN (
    SELECT o.id FROM task o WHERE o.finished < $1 AND o.status NOT IN ('queued', 'running', 'unknown') LIMIT $2);

-- Path lists that no device uses any more.
-- name: prune_path_lists
DELETE FROM path_list p WHERE NOT EXISTS (SELECT 1 FROM device_values v WHERE v.path_list = p.id);

-- The credentials with some user names.
-- name: credentials
SELECT username, record FROM credential WHERE username = ANY($1::text[]);

-- The credentials of some devices. The second condition is the index's.
-- name: credentials_of
SELECT device, record FROM credential WHERE device = ANY($1::text[]) AND device <> '';

-- The credential of one device.
-- name: credential_of
SELECT record FROM credential WHERE device = $1 AND device <> '';

-- Credentials in the way of a new one: a user name has one, and so has a device.
-- name: clear_credential
DELETE FROM credential WHERE username = $1 OR (device = $2 AND device <> '');

-- A credential.
-- name: insert_credential
INSERT INTO credential (username, device, record) VALUES ($1, $2, $3);

-- A credential that is no longer valid.
-- name: delete_credential
DELETE FROM credential WHERE username = $1;

-- The token with a hash.
-- name: token
SELECT record FROM token WHERE digest = $1;

-- The token with a name.
-- name: token_named
SELECT record FROM token WHERE name = $1;

-- Tokens in the way of a new one: a name has one.
-- name: clear_token
DELETE FROM token WHERE digest = $1 OR name = $2;

-- A token.
-- name: insert_token
INSERT INTO token (digest, name, record) VALUES ($1, $2, $3);

-- A file's description.
-- name: file
SELECT record FROM file WHERE name = $1;

-- All files.
-- name: files
SELECT record FROM file ORDER BY name;

-- A page of them.
-- name: files_by_name
SELECT name, record FROM file WHERE name > $1 ORDER BY name LIMIT $2;

-- A file's description, new or anew.
-- name: put_file
INSERT INTO file (name, record) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET record = excluded.record;

-- A file that is gone.
-- name: delete_file
DELETE FROM file WHERE name = $1;

-- A secret.
-- name: secret
SELECT value FROM secret WHERE name = $1;

-- A secret, unless there is one already.
-- name: insert_secret
INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;

-- The time at the server, seconds since 1970.
-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8;

-- This node is alive.
-- name: beat
INSERT INTO node (name, seen) VALUES ($1, now()) ON CONFLICT (name) DO UPDATE SET seen = excluded.seen;

-- Nodes that have not been alive for a day, and a node that says goodbye.
-- name: forget_nodes
DELETE FROM node WHERE name = $1 OR seen < now() - interval '1 day';

-- The number by which the outcome of this transaction can be asked for later.
-- name: transaction
SELECT pg_current_xact_id()::text;

-- Which server this is, and since which recovery: the cluster, its timeline, and since when it counts, which every recovery after a
-- crash begins anew. While all three stay the same, a number has been given to one transaction only.
-- name: history
SELECT concat_ws(' ', (SELECT system_identifier FROM pg_control_system()),
                 CASE WHEN pg_is_in_recovery() THEN 'standby'
                      ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END,
                 extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()));

-- What became of a transaction: committed, aborted, in progress, or NULL where that is too long ago.
-- name: outcome
SELECT pg_xact_status($1::text::xid8);

-- Tells all nodes.
-- name: notify
SELECT pg_notify('homeport', $1);

-- All tokens.
-- name: tokens
SELECT record FROM token ORDER BY name;

-- One document.
-- name: document
SELECT kind, name, record, due FROM document WHERE kind = $1 AND name = $2;

-- Documents of a kind by name.
-- name: documents
SELECT kind, name, record, due FROM document WHERE kind = $1 AND name > $2 ORDER BY name LIMIT $3;

-- Documents of a kind by name, the other way round.
-- name: youngest_documents
SELECT kind, name, record, due FROM document WHERE kind = $1 AND name < $2 ORDER BY name DESC LIMIT $3;

-- Documents that are due.
-- name: due_documents
SELECT kind, name, record, due FROM document WHERE kind = $1 AND due <= $2 ORDER BY due, name LIMIT $3;

-- How many documents of a kind there are, counted to a limit.
-- name: document_count
SELECT count(*) FROM (SELECT 1 FROM document WHERE kind = $1 LIMIT $2) AS few;

-- A document, whatever there was.
-- name: put_document
INSERT INTO document (record, due, kind, name) VALUES ($1, $2, $3, $4)
ON CONFLICT (kind, name) DO UPDATE SET record = excluded.record, due = excluded.due;

-- A document where there was none.
-- name: insert_document
INSERT INTO document (record, due, kind, name) VALUES ($1, $2, $3, $4) ON CONFLICT (kind, name) DO NOTHING;

-- A document that is as its writer has read it.
-- name: update_document
UPDATE document SET record = $1, due = $2 WHERE kind = $3 AND name = $4 AND record = $5;

-- A document that is gone.
-- name: delete_document
DELETE FROM document WHERE kind = $1 AND name = $2;

-- The same, where it is as its reader has read it.
-- name: delete_document_as
DELETE FROM document WHERE kind = $1 AND name = $2 AND record = $3;

-- Documents that were due long ago.
-- name: forget_documents
DELETE FROM document WHERE kind = $1 AND name IN (
    SELECT o.name FROM document o WHERE o.kind = $1 AND o.due < $2 LIMIT $3);

-- When documents were due: the last of the youngest, and one more where there is one. By the index alone.
-- name: due_since
SELECT due FROM document WHERE kind = $1 AND due IS NOT NULL ORDER BY due DESC LIMIT 2 OFFSET $2;

-- A token that has ended.
-- name: delete_token
DELETE FROM token WHERE name = $1;

-- Whether something of a locked device is with it now: a task that was sent and not answered, a session that may go on.
-- name: device_busy
SELECT EXISTS (SELECT 1 FROM task WHERE device = $1 AND status = 'running' AND phase <> 'transfer')
       OR EXISTS (SELECT 1 FROM lease WHERE device = $1);

-- The login of a device that comes under another id.
-- name: move_credential
UPDATE credential SET device = $1, record = $2 WHERE username = $3;

-- Rows of a device that comes under another id.
-- name: tasks_to_move
SELECT id, record FROM task WHERE device = $1 LIMIT $2;

-- name: move_task
UPDATE task SET device = $1, record = $2 WHERE id = $3;

-- Rows of a device that comes under another id.
-- name: sessions_to_move
SELECT id, record FROM session WHERE device = $1 LIMIT $2;

-- name: move_session
UPDATE session SET device = $1, record = $2 WHERE id = $3;

-- Rows of a device that comes under another id.
-- name: events_to_move
SELECT id, record FROM event WHERE device = $1 LIMIT $2;

-- name: move_event
UPDATE event SET device = $1, record = $2 WHERE id = $3;

-- Rows of a device that comes under another id.
-- name: faults_to_move
SELECT id, record FROM fault WHERE device = $1 LIMIT $2;

-- name: move_fault
UPDATE fault SET device = $1, record = $2 WHERE id = $3;
