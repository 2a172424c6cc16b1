-- The operator's dashboard: who may see it, and figures that would be dear to count each time.

CREATE TABLE admin (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    password_hash   TEXT NOT NULL,                  -- argon2id, as a PHC string
    changed_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    token_hash      TEXT PRIMARY KEY,               -- SHA-256 of what the browser has
    created_ms      INTEGER NOT NULL,
    idle_until_ms   INTEGER NOT NULL,
    ends_ms         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_dead_by_age    ON deliveries (id) WHERE state = 'dead';
CREATE INDEX deliveries_pending_by_age ON deliveries (id) WHERE state = 'pending';
CREATE INDEX deliveries_sending_by_age ON deliveries (id) WHERE state = 'sending';
CREATE INDEX deliveries_due_first      ON deliveries (due_ms) WHERE state = 'pending';

-- What was done in each hour (Unix hours): requests in the hour in which they came, ends in the hour of the end.
CREATE TABLE usage_hours (
    hour            INTEGER NOT NULL,
    access_key      TEXT NOT NULL,
    requests        INTEGER NOT NULL DEFAULT 0,
    done            INTEGER NOT NULL DEFAULT 0,
    failed          INTEGER NOT NULL DEFAULT 0,
    cancelled       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, access_key)
) STRICT, WITHOUT ROWID;

-- Classes of render times, by where they begin: each an eighth wide, and five milliseconds where that is less.
CREATE TABLE render_classes (from_ms INTEGER PRIMARY KEY) STRICT;
INSERT INTO render_classes (from_ms)
WITH RECURSIVE class (from_ms) AS (
    SELECT 0
    UNION ALL
    SELECT from_ms + max(5, from_ms / 8) FROM class WHERE from_ms < 3600000
)
SELECT from_ms FROM class;

-- How many renders that succeeded took how long.
CREATE TABLE render_hours (
    hour            INTEGER NOT NULL,
    access_key      TEXT NOT NULL,
    class_ms        INTEGER NOT NULL,               -- one of the classes
    renders         INTEGER NOT NULL,
    PRIMARY KEY (hour, access_key, class_ms)
) STRICT, WITHOUT ROWID;

INSERT INTO usage_hours (hour, access_key, requests, done, failed, cancelled)
SELECT hour, access_key, sum(requests), sum(done), sum(failed), sum(cancelled) FROM (
    SELECT created_ms / 3600000 AS hour, access_key, 1 AS requests, 0 AS done, 0 AS failed, 0 AS cancelled FROM requests
    UNION ALL
    SELECT finished_ms / 3600000, access_key, 0, state = 'done', state = 'failed', state = 'cancelled' FROM requests
    WHERE finished_ms IS NOT NULL
) GROUP BY hour, access_key;

INSERT INTO render_hours (hour, access_key, class_ms, renders)
SELECT finished_ms / 3600000 AS hour, access_key,
       (SELECT max(from_ms) FROM render_classes c WHERE c.from_ms <= r.render_ms) AS class_ms, count(*)
FROM requests r WHERE state = 'done' AND render_ms IS NOT NULL
GROUP BY 1, 2, 3;

CREATE TRIGGER request_counted AFTER INSERT ON requests BEGIN
    INSERT INTO usage_hours (hour, access_key, requests) VALUES (NEW.created_ms / 3600000, NEW.access_key, 1)
    ON CONFLICT (hour, access_key) DO UPDATE SET requests = requests + 1;
END;

CREATE TRIGGER request_end_counted AFTER UPDATE OF state ON requests
WHEN NEW.finished_ms IS NOT NULL AND OLD.finished_ms IS NULL BEGIN
    INSERT INTO usage_hours (hour, access_key, done, failed, cancelled)
    VALUES (NEW.finished_ms / 3600000, NEW.access_key, NEW.state = 'done', NEW.state = 'failed', NEW.state = 'cancelled')
    ON CONFLICT (hour, access_key) DO UPDATE
    SET done = done + excluded.done, failed = failed + excluded.failed, cancelled = cancelled + excluded.cancelled;
    INSERT INTO render_hours (hour, access_key, class_ms, renders)
    SELECT NEW.finished_ms / 3600000, NEW.access_key, max(from_ms), 1 FROM render_classes
    WHERE from_ms <= NEW.render_ms AND NEW.state = 'done' HAVING max(from_ms) IS NOT NULL
    ON CONFLICT (hour, access_key, class_ms) DO UPDATE SET renders = renders + 1;
END;

-- Files in the store, and their bytes.
CREATE TABLE holdings (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    files           INTEGER NOT NULL,
    bytes           INTEGER NOT NULL
) STRICT;
INSERT INTO holdings (id, files, bytes) SELECT 1, count(*), coalesce(sum(bytes), 0) FROM files WHERE removed = 0;

CREATE TRIGGER file_kept AFTER INSERT ON files WHEN NEW.removed = 0 BEGIN
    UPDATE holdings SET files = files + 1, bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER file_removed AFTER UPDATE OF removed ON files WHEN OLD.removed = 0 AND NEW.removed = 1 BEGIN
    UPDATE holdings SET files = files - 1, bytes = bytes - OLD.bytes;
END;
CREATE TRIGGER file_deleted AFTER DELETE ON files WHEN OLD.removed = 0 BEGIN
    UPDATE holdings SET files = files - 1, bytes = bytes - OLD.bytes;
END;
