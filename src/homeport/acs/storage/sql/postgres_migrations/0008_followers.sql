-- Which task a task waits for: so those are found at once that wait for one which will never be done. When the clock looks at a task
-- whose outcome is not known, the tasks of older versions included, which are filled in by `fills.py`.
ALTER TABLE task ADD COLUMN waits_for TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX task_after ON task (waits_for) WHERE waits_for <> '';
