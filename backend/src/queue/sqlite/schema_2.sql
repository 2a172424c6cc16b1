-- Limits of keys, what they have used, answers kept for repeated requests, and secrets of requests.

ALTER TABLE keys ADD COLUMN monthly_quota       INTEGER;    -- NULL: without a limit, here and below
ALTER TABLE keys ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE keys ADD COLUMN concurrency         INTEGER;

-- What callers put into options for somebody else to be let in (storage secrets, credentials, cookies), sealed with the
-- root key; gone when the request has ended.
ALTER TABLE requests ADD COLUMN secrets BLOB;

CREATE TABLE key_counters (
    access_key      TEXT PRIMARY KEY,
    unfinished      INTEGER NOT NULL DEFAULT 0,     -- requests that are queued or rendering
    minute          INTEGER NOT NULL DEFAULT 0,     -- Unix minutes; the next column counts in this one
    started         INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE key_months (
    access_key      TEXT NOT NULL,
    month           INTEGER NOT NULL,               -- 202611
    rendered        INTEGER NOT NULL,               -- requests that ended as done in it
    PRIMARY KEY (access_key, month)
) STRICT, WITHOUT ROWID;

INSERT INTO key_counters (access_key, unfinished)
SELECT access_key, count(*) FROM requests WHERE state IN ('queued', 'rendering') GROUP BY access_key;

INSERT INTO key_months (access_key, month, rendered)
SELECT access_key, CAST(strftime('%Y%m', finished_ms / 1000, 'unixepoch') AS INTEGER) AS month, count(*)
FROM requests WHERE state = 'done' GROUP BY access_key, month;

-- Triggers, and not statements beside each change of state: whatever moves a request, by whatever way, is counted in the
-- same transaction, once.
CREATE TRIGGER request_begins AFTER INSERT ON requests WHEN NEW.state IN ('queued', 'rendering') BEGIN
    INSERT INTO key_counters (access_key, unfinished) VALUES (NEW.access_key, 1)
    ON CONFLICT (access_key) DO UPDATE SET unfinished = unfinished + 1;
END;

CREATE TRIGGER request_ends AFTER UPDATE OF state ON requests
WHEN OLD.state IN ('queued', 'rendering') AND NEW.state NOT IN ('queued', 'rendering') BEGIN
    UPDATE key_counters SET unfinished = unfinished - 1 WHERE access_key = NEW.access_key;
    INSERT INTO key_months (access_key, month, rendered)
    SELECT NEW.access_key, CAST(strftime('%Y%m', NEW.finished_ms / 1000, 'unixepoch') AS INTEGER), 1
    WHERE NEW.state = 'done'
    ON CONFLICT (access_key, month) DO UPDATE SET rendered = rendered + 1;
END;

CREATE TRIGGER request_removed AFTER DELETE ON requests WHEN OLD.state IN ('queued', 'rendering') BEGIN
    UPDATE key_counters SET unfinished = unfinished - 1 WHERE access_key = OLD.access_key;
END;

CREATE TABLE cache (
    key             TEXT PRIMARY KEY,               -- hash of access key and canonical options
    file            TEXT NOT NULL,                  -- its bytes are the answer, unless there is a body
    headers         TEXT NOT NULL,                  -- JSON array of pairs
    body            TEXT,
    expires_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX cache_expiring ON cache (expires_ms);
