-- When the clock may end a task, and its method: so the sweep and the list of all devices' tasks find their rows by an index. What is
-- done has no entry by its status: nearly all is, and it would cost every task that reads. Old rows are filled in by `fills.py`.
ALTER TABLE task ADD COLUMN rpc TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN due DOUBLE PRECISION; -- seconds since 1970, NULL where the clock cannot end it
CREATE INDEX task_due ON task (due) WHERE due IS NOT NULL;
CREATE INDEX task_rpc ON task (rpc, id);
CREATE INDEX task_status ON task (status, id, rpc) WHERE status <> 'done';
CREATE INDEX task_overdue ON task (device) WHERE phase = 'overdue';
