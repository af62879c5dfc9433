-- Which task a task waits for: so those are found at once that wait for one which will never be done. When the clock looks at a task
-- whose outcome is not known, the tasks of older versions included.
ALTER TABLE task ADD COLUMN waits_for TEXT NOT NULL DEFAULT '';
UPDATE task SET waits_for = task_after(record), due = task_due(record) WHERE status IN ('queued', 'unknown');
CREATE INDEX task_after ON task (waits_for) WHERE waits_for <> '';
UPDATE task SET due = 0 WHERE waits_for <> '' AND status = 'queued'
AND EXISTS (SELECT 1 FROM task p WHERE p.id = task.waits_for AND p.status IN ('failed', 'expired', 'cancelled'));
