-- Renders that are asked for by the clock.

CREATE TABLE tasks (
    id                  INTEGER PRIMARY KEY,
    access_key          TEXT NOT NULL,
    name                TEXT NOT NULL,
    endpoint            TEXT NOT NULL,              -- path of the route
    query               BLOB NOT NULL,              -- sealed: it may hold credentials
    frequency           TEXT NOT NULL,
    crontab             TEXT NOT NULL,
    time_zone           TEXT NOT NULL,              -- IANA name
    enabled             INTEGER NOT NULL,
    created_ms          INTEGER NOT NULL,
    due_ms              INTEGER,                    -- NULL: it does not run
    revision            INTEGER NOT NULL DEFAULT 0, -- changes of what its owner decides
    runs                INTEGER NOT NULL DEFAULT 0, -- requests made
    last_run_ms         INTEGER,
    last_status         TEXT,                       -- state of the last request, or 'refused'
    last_request_id     TEXT,
    last_error_code     TEXT,
    last_error_message  TEXT
) STRICT;

CREATE INDEX tasks_due    ON tasks (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX tasks_by_key ON tasks (access_key, created_ms, id);

ALTER TABLE requests ADD COLUMN task_id INTEGER;    -- the task that made it
CREATE INDEX requests_of_task ON requests (task_id, id) WHERE task_id IS NOT NULL;

-- A task knows how its last run went, in the transaction in which it went so.
CREATE TRIGGER task_run_moves AFTER UPDATE OF state ON requests WHEN NEW.task_id IS NOT NULL BEGIN
    UPDATE tasks
    SET last_status = NEW.state, last_error_code = NEW.error_code, last_error_message = NEW.error_message
    WHERE id = NEW.task_id AND last_request_id = NEW.id;
END;
