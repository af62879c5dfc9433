-- Every query of the SQLite store. The line `-- name:` names the one below it.

-- One device and its delta, and whether it has open tasks, in one step and in few columns: what an Inform needs.
-- name: hot_device
SELECT d.id, d.key, d.rest, d.last_inform, d.delta, d.delta_form,
       EXISTS (SELECT 1 FROM task t INDEXED BY task_open WHERE t.device = d.id AND t.status IN ('queued', 'running', 'unknown'))
FROM device d WHERE d.id = ?;

-- All columns of one device.
-- name: device
SELECT d.key, d.id, d.state, d.first_seen, d.last_inform, d.oui, d.product_class, d.serial_number, d.manufacturer, d.model,
       d.software_version, d.hardware_version, d.provisioning_code, d.address, d.tags, d.rest
FROM device d WHERE d.id = ?;

-- Devices in the order of their ids, with what conditions on parameters need; the caller puts its condition in.
-- name: devices
SELECT d.key, d.id, d.state, d.first_seen, d.last_inform, d.oui, d.product_class, d.serial_number, d.manufacturer, d.model,
       d.software_version, d.hardware_version, d.provisioning_code, d.address, d.tags, d.rest
FROM device d
WHERE d.id > ? AND (/*where*/)
ORDER BY d.id LIMIT ?;

-- How many devices there are.
-- name: device_count
SELECT count(*) FROM device;

-- How many devices are not approved, counted to a limit: from the small index of those.
-- name: unapproved_count
SELECT count(*) FROM (SELECT 1 FROM device WHERE state <> 'approved' LIMIT ?);

-- How many of them each address has: by the same index.
-- name: unapproved_addresses
SELECT address, count(*) FROM device WHERE state <> 'approved' GROUP BY address;

-- A device that was never seen before.
-- name: insert_device
INSERT INTO device (state, first_seen, last_inform, oui, product_class, serial_number, manufacturer, model, software_version,
                    hardware_version, provisioning_code, address, tags, rest, id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- The hot row of a known device, written whole.
-- name: update_device
UPDATE device SET state = ?, first_seen = ?, last_inform = ?, oui = ?, product_class = ?, serial_number = ?, manufacturer = ?,
                  model = ?, software_version = ?, hardware_version = ?, provisioning_code = ?, address = ?, tags = ?, rest = ?
WHERE id = ?;

-- Only the time of the last Inform.
-- name: seen_device
UPDATE device SET last_inform = ? WHERE key = ?;

-- The same with what changed in it: by far the most frequent write.
-- name: told_device
UPDATE device SET last_inform = ?, delta = ?, delta_form = ? WHERE key = ?;

-- The number of a device.
-- name: device_key
SELECT key FROM device WHERE id = ?;

-- A device and, by the foreign keys, everything that belongs to it.
-- name: delete_device
DELETE FROM device WHERE id = ?;

-- The credentials of a deleted device.
-- name: delete_device_credentials
DELETE FROM credential WHERE device = ?;

-- The values of one device with their path list and its delta.
-- name: values
SELECT v.path_list, v.vals, d.delta, d.delta_form FROM device d LEFT JOIN device_values v ON v.device = d.key WHERE d.id = ?;

-- A shared path list.
-- name: path_list
SELECT paths FROM path_list WHERE id = ?;

-- The number of a path list.
-- name: path_list_id
SELECT id FROM path_list WHERE hash = ?;

-- A new path list.
-- name: insert_path_list
INSERT INTO path_list (hash, paths) VALUES (?, ?);

-- The values of one device, for the writer to change them.
-- name: values_to_merge
SELECT d.key, v.path_list, v.vals FROM device d LEFT JOIN device_values v ON v.device = d.key WHERE d.id = ?;

-- How long the values of a device are, which is told without reading them.
-- name: values_size
SELECT length(v.vals) FROM device d JOIN device_values v ON v.device = d.key WHERE d.id = ?;

-- All values of a device.
-- name: put_values
INSERT INTO device_values (device, path_list, vals) VALUES (?, ?, ?)
ON CONFLICT (device) DO UPDATE SET path_list = excluded.path_list, vals = excluded.vals;

-- The same where the list of paths is as it was.
-- name: update_values
UPDATE device_values SET vals = ? WHERE device = ?;

-- What changed since the values were written.
-- name: put_delta
UPDATE device SET delta = ?, delta_form = ? WHERE id = ?;

-- The same, of a device whose number is known.
-- name: put_delta_at
UPDATE device SET delta = ?, delta_form = ? WHERE key = ?;

-- The delta of one device, with the paths of its form.
-- name: delta_of
SELECT d.delta, f.paths FROM device d LEFT JOIN delta_form f ON f.id = d.delta_form WHERE d.id = ?;

-- The paths of a form of deltas.
-- name: delta_form
SELECT paths FROM delta_form WHERE id = ?;

-- The number of a form.
-- name: delta_form_id
SELECT id FROM delta_form WHERE hash = ?;

-- A new form, while there are not too many.
-- name: insert_delta_form
INSERT OR IGNORE INTO delta_form (hash, paths) SELECT ?, ? WHERE (SELECT count(*) FROM delta_form) < ?;

-- All deltas, for a backup.
-- name: deltas
SELECT d.key, d.delta, f.paths FROM device d LEFT JOIN delta_form f ON f.id = d.delta_form WHERE d.delta IS NOT NULL;

-- One task.
-- name: task
SELECT record FROM task WHERE id = ?;

-- The tasks of a device that are not finished, the next one first.
-- name: open_tasks
SELECT record FROM task WHERE device = ? AND status IN ('queued', 'running', 'unknown') ORDER BY priority DESC, id;

-- The tasks of a device, youngest first.
-- name: tasks_of
SELECT id, record FROM task WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- Tasks of all devices between two ids, in one of some statuses (|done|failed|, or '' for any), youngest first.
-- name: tasks_all
SELECT id, record FROM task WHERE id < ?1 AND id >= ?2 AND (?3 = '' OR instr(?3, '|' || status || '|') > 0)
ORDER BY id DESC LIMIT ?4;

-- The same, of one method.
-- name: tasks_of_rpc
SELECT id, record FROM task INDEXED BY task_rpc
WHERE rpc = ?5 AND id < ?1 AND id >= ?2 AND (?3 = '' OR instr(?3, '|' || status || '|') > 0) ORDER BY id DESC LIMIT ?4;

-- The same, of one device, and of one method or any ('').
-- name: tasks_of_device
SELECT id, record FROM task INDEXED BY task_device
WHERE device = ?6 AND id < ?1 AND id >= ?2 AND (?3 = '' OR instr(?3, '|' || status || '|') > 0) AND (?5 = '' OR rpc = ?5)
ORDER BY id DESC LIMIT ?4;

-- Tasks of all devices in one status other than done, of one method or any (''), youngest first. Chosen by the index alone.
-- name: tasks_in_status
SELECT id, record FROM task WHERE id IN (
    SELECT id FROM task INDEXED BY task_status
    WHERE status = ?3 AND status <> 'done' AND id < ?1 AND id >= ?2 AND (?5 = '' OR rpc = ?5) ORDER BY id DESC LIMIT ?4)
ORDER BY id DESC;

-- Tasks that the clock may have ended.
-- name: due_tasks
SELECT record FROM task INDEXED BY task_due WHERE due <= ? ORDER BY due LIMIT ?;

-- The tasks of a device whose end was not told in time, and may be yet.
-- name: overdue_tasks
SELECT record FROM task INDEXED BY task_overdue WHERE device = ? AND phase = 'overdue' ORDER BY id;

-- Tasks that no living session can answer any more, and no session that may be continued.
-- name: interrupted_tasks
SELECT record FROM task t WHERE status = 'running' AND phase <> 'transfer'
AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.device = t.device AND l.until > ?2) ORDER BY id LIMIT ?1;

-- How many tasks are open, and the oldest of them.
-- name: task_figures
SELECT count(*), min(id) FROM task INDEXED BY task_open WHERE status IN ('queued', 'running', 'unknown');

-- Queued tasks, from an id on.
-- name: orphaned_tasks
SELECT record FROM task WHERE id >= ? AND status = 'queued' ORDER BY id LIMIT ?;

-- The lease of a session, by its cookie.
-- name: lease
SELECT device, session, cookie, node, until, state, host FROM lease WHERE cookie = ?;

-- The leases of sessions whose devices have not given the cookie back, by the devices' address.
-- name: leases_at
SELECT device, session, cookie, node, until, state, host FROM lease WHERE host = ? AND host <> '';

-- A lease, in place of what the device had.
-- name: put_lease
INSERT OR REPLACE INTO lease (device, session, cookie, node, until, state, host)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 FROM device WHERE id = ?1;

-- A lease that is over.
-- name: release_lease
DELETE FROM lease WHERE device = ? AND session = ?;

-- Leases whose time is over.
-- name: expired_leases
SELECT device, session, cookie, node, until, state, host FROM lease WHERE until <= ? ORDER BY until LIMIT ?;

-- A new task; fails where the device or the id is not as it should be.
-- name: insert_task
INSERT INTO task (status, phase, priority, finished, due, record, id, device, rpc, waits_for) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- The tasks that wait for one which has just ended otherwise than done are looked at now.
-- name: forsake
UPDATE task SET due = 0 WHERE waits_for = ? AND waits_for <> '' AND status = 'queued';

-- The same of a new task, where what it waits for has ended so meanwhile, or is gone.
-- name: forsake_new
UPDATE task SET due = 0 WHERE id = ?1 AND status = 'queued'
AND NOT EXISTS (SELECT 1 FROM task p WHERE p.id = ?2 AND p.status IN ('queued', 'running', 'unknown', 'done'));

-- The same of tasks that wait for one of a device that is about to be deleted.
-- name: forsake_all_of
UPDATE task SET due = 0 WHERE waits_for <> '' AND waits_for IN (SELECT id FROM task WHERE device = ?) AND status = 'queued';

-- The same of all tasks, after a backup was restored.
-- name: forsake_all
UPDATE task SET due = 0 WHERE waits_for <> '' AND status = 'queued'
AND EXISTS (SELECT 1 FROM task p WHERE p.id = task.waits_for AND p.status IN ('failed', 'expired', 'cancelled'));

-- How many wait for a task, up to so many.
-- name: followers
SELECT count(*) FROM (SELECT 1 FROM task WHERE waits_for = ? AND waits_for <> '' LIMIT ?);

-- A task of this device that may be in any of the three given statuses now.
-- name: update_task
UPDATE task SET status = ?, phase = ?, priority = ?, finished = ?, due = ?, record = ?
WHERE id = ? AND status IN (?, ?, ?) AND device = ?;

-- The sessions of a device, youngest first, without their messages.
-- name: sessions_of
SELECT id, record FROM session WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- One session.
-- name: session
SELECT record, messages FROM session WHERE id = ?;

-- A session that ended, of a device that still exists.
-- name: insert_session
INSERT OR REPLACE INTO session (id, device, ended, record, messages)
SELECT ?1, id, ?3, ?4, ?5 FROM device WHERE id = ?2;

-- The events of a device, youngest first.
-- name: events_of
SELECT id, record FROM event WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- An event.
-- name: insert_event
INSERT INTO event (id, device, at, record) VALUES (?, ?, ?, ?);

-- Faults of all devices, youngest first.
-- name: faults
SELECT id, record FROM fault WHERE id < ? ORDER BY id DESC LIMIT ?;

-- Faults of one device, youngest first.
-- name: faults_of
SELECT id, record FROM fault WHERE device = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- A fault.
-- name: insert_fault
INSERT INTO fault (id, device, at, record) VALUES (?, ?, ?, ?);

-- Histories that are too old.
-- name: prune_sessions
DELETE FROM session WHERE id IN (SELECT o.id FROM session o WHERE o.ended < ? LIMIT ?);

-- name: prune_events
DELETE FROM event WHERE id IN (SELECT o.id FROM event o WHERE o.at < ? LIMIT ?);

-- name: prune_faults
DELETE FROM fault WHERE id IN (SELECT o.id FROM fault o WHERE o.at < ? LIMIT ?);

-- Finished tasks that are too old.
-- name: prune_tasks
DELETE FROM task WHERE id IN (
    SELECT o.id FROM task o WHERE o.finished < ? AND o.status NOT IN ('queued', 'running', 'unknown') LIMIT ?);

-- Path lists that no device uses any more.
-- name: prune_path_lists
DELETE FROM path_list WHERE id NOT IN (SELECT path_list FROM device_values);

-- How many there are of what is pruned, up to so many.
-- name: old_sessions
SELECT count(*) FROM (SELECT 1 FROM session WHERE ended < ? LIMIT ?);

-- name: old_events
SELECT count(*) FROM (SELECT 1 FROM event WHERE at < ? LIMIT ?);

-- name: old_faults
SELECT count(*) FROM (SELECT 1 FROM fault WHERE at < ? LIMIT ?);

-- name: old_tasks
SELECT count(*) FROM (SELECT 1 FROM task WHERE finished < ? AND status NOT IN ('queued', 'running', 'unknown') LIMIT ?);

-- The credential with a user name.
-- name: credential
SELECT record FROM credential WHERE username = ?;

-- The credential of one device.
-- name: credential_of
SELECT record FROM credential WHERE device = ?;

-- A credential; a device has one at a time.
-- name: put_credential
INSERT OR REPLACE INTO credential (username, device, record) VALUES (?, ?, ?);

-- name: delete_credential
DELETE FROM credential WHERE username = ?;

-- The token with a hash.
-- name: token
SELECT record FROM token WHERE digest = ?;

-- name: token_named
SELECT record FROM token WHERE name = ?;

-- A token; an older one of the same name goes.
-- name: put_token
INSERT OR REPLACE INTO token (digest, name, record) VALUES (?, ?, ?);

-- name: file
SELECT record FROM file WHERE name = ?;

-- name: files
SELECT record FROM file ORDER BY name;

-- name: files_by_name
SELECT name, record FROM file WHERE name > ? ORDER BY name LIMIT ?;

-- name: put_file
INSERT OR REPLACE INTO file (name, record) VALUES (?, ?);

-- name: delete_file
DELETE FROM file WHERE name = ?;

-- name: secret
SELECT value FROM secret WHERE name = ?;

-- A secret, unless there is one already.
-- name: insert_secret
INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING;

-- Something small to write, to learn whether the disk works again.
-- name: probe
INSERT OR REPLACE INTO secret (name, value) VALUES ('probe', x'00');

-- All tokens.
-- name: tokens
SELECT record FROM token ORDER BY name;

-- One document.
-- name: document
SELECT kind, name, record, due FROM document WHERE kind = ? AND name = ?;

-- Documents of a kind by name.
-- name: documents
SELECT kind, name, record, due FROM document WHERE kind = ? AND name > ? ORDER BY name LIMIT ?;

-- Documents of a kind by name, the other way round.
-- name: youngest_documents
SELECT kind, name, record, due FROM document WHERE kind = ? AND name < ? ORDER BY name DESC LIMIT ?;

-- Documents that are due.
-- name: due_documents
SELECT kind, name, record, due FROM document WHERE kind = ? AND due <= ? ORDER BY due, name LIMIT ?;

-- How many documents of a kind there are, counted to a limit.
-- name: document_count
SELECT count(*) FROM (SELECT 1 FROM document WHERE kind = ? LIMIT ?);

-- A document, whatever there was.
-- name: put_document
INSERT INTO document (record, due, kind, name) VALUES (?, ?, ?, ?)
ON CONFLICT (kind, name) DO UPDATE SET record = excluded.record, due = excluded.due;

-- A document where there was none.
-- name: insert_document
INSERT INTO document (record, due, kind, name) VALUES (?, ?, ?, ?) ON CONFLICT (kind, name) DO NOTHING;

-- A document that is as its writer has read it.
-- name: update_document
UPDATE document SET record = ?, due = ? WHERE kind = ? AND name = ? AND record = ?;

-- A document that is gone.
-- name: delete_document
DELETE FROM document WHERE kind = ? AND name = ?;

-- The same, where it is as its reader has read it.
-- name: delete_document_as
DELETE FROM document WHERE kind = ? AND name = ? AND record = ?;

-- Documents that were due long ago.
-- name: forget_documents
DELETE FROM document WHERE kind = ? AND name IN (
    SELECT o.name FROM document o WHERE o.kind = ?1 AND o.due < ? LIMIT ?);

-- How many of them there are, up to so many.
-- name: old_documents
SELECT count(*) FROM (SELECT 1 FROM document WHERE kind = ? AND due < ? LIMIT ?);

-- When documents were due: the last of the youngest, and one more where there is one. By the index alone.
-- name: due_since
SELECT due FROM document WHERE kind = ? AND due IS NOT NULL ORDER BY due DESC LIMIT 2 OFFSET ?;

-- A token that has ended.
-- name: delete_token
DELETE FROM token WHERE name = ?;

-- A device that may come under another id, which is there: nothing of it is with the device now.
-- name: hold_device
UPDATE device SET state = state WHERE id = ?1 AND ?1 <> ?2 AND EXISTS (SELECT 1 FROM device WHERE id = ?2)
AND NOT EXISTS (SELECT 1 FROM task WHERE device = ?1 AND status = 'running' AND phase <> 'transfer')
AND NOT EXISTS (SELECT 1 FROM lease WHERE device = ?1);

-- Rows of a device that comes under another id.
-- name: tasks_to_move
SELECT id, record FROM task WHERE device = ? LIMIT ?;

-- name: move_task
UPDATE task SET device = ?, record = ? WHERE id = ?;

-- Rows of a device that comes under another id.
-- name: sessions_to_move
SELECT id, record FROM session WHERE device = ? LIMIT ?;

-- name: move_session
UPDATE session SET device = ?, record = ? WHERE id = ?;

-- Rows of a device that comes under another id.
-- name: events_to_move
SELECT id, record FROM event WHERE device = ? LIMIT ?;

-- name: move_event
UPDATE event SET device = ?, record = ? WHERE id = ?;

-- Rows of a device that comes under another id.
-- name: faults_to_move
SELECT id, record FROM fault WHERE device = ? LIMIT ?;

-- name: move_fault
UPDATE fault SET device = ?, record = ? WHERE id = ?;
