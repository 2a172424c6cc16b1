-- Times are Unix milliseconds. A state is written as its name. Ids and names are compared byte by byte (COLLATE "C"), so that
-- they sort by age whatever the language of the database is.

CREATE TABLE keys (
    access_key          TEXT COLLATE "C" PRIMARY KEY,
    name                TEXT NOT NULL,
    secret              BYTEA NOT NULL,             -- sealed with the root key
    require_signed      BOOLEAN NOT NULL,
    monthly_quota       BIGINT,                     -- NULL: without a limit, here and below
    requests_per_minute BIGINT,
    concurrency         BIGINT,
    created_ms          BIGINT NOT NULL,
    revoked_ms          BIGINT
);

-- Secrets of before the last rotations.
CREATE TABLE previous_secrets (
    access_key          TEXT COLLATE "C" NOT NULL,
    number              BIGINT NOT NULL,            -- the highest is the newest
    secret              BYTEA NOT NULL,             -- sealed with the root key
    until_ms            BIGINT NOT NULL,            -- good until then
    PRIMARY KEY (access_key, number)
);

CREATE TABLE requests (
    id              TEXT COLLATE "C" PRIMARY KEY,   -- begins with the time, so it sorts by age
    access_key      TEXT COLLATE "C" NOT NULL,
    endpoint        TEXT NOT NULL,                  -- path of the route, which also says the dialect
    asynchronous    BOOLEAN NOT NULL,
    options         TEXT NOT NULL,                  -- checked options, JSON
    secrets         BYTEA,                          -- sealed; gone when the request has ended
    target          TEXT NOT NULL,                  -- what is shown as the thing rendered
    idempotency_key TEXT COLLATE "C",
    fingerprint     TEXT NOT NULL,
    urgency         BIGINT NOT NULL,                -- RFC 9218: 0 first, 7 last
    state           TEXT COLLATE "C" NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0,      -- leases given
    failures        BIGINT NOT NULL DEFAULT 0,      -- of them ended by a failure that may be retried
    postponed       BIGINT NOT NULL DEFAULT 0,      -- of them ended by a fault of this installation
    due_ms          BIGINT NOT NULL,                -- not claimed before
    lease_owner     TEXT,
    lease_until_ms  BIGINT,
    created_ms      BIGINT NOT NULL,
    started_ms      BIGINT,
    finished_ms     BIGINT,
    render_ms       BIGINT,
    error_code      TEXT,
    error_message   TEXT,                           -- for the caller
    error_cause     TEXT,                           -- for the operator
    refused         TEXT,                           -- what the page did not get to: a JSON array, NULL for nothing
    task_id         BIGINT,                         -- the task that made it
    traceparent     TEXT                            -- where it belongs in a trace (W3C), NULL for nowhere
) WITH (fillfactor = 80);

CREATE INDEX requests_due              ON requests (access_key, urgency, due_ms) WHERE state = 'queued';
CREATE INDEX requests_leased           ON requests (access_key, lease_until_ms) WHERE state = 'rendering';
CREATE INDEX requests_by_key           ON requests (access_key, id);
CREATE INDEX requests_ended            ON requests (finished_ms) WHERE finished_ms IS NOT NULL;
CREATE INDEX requests_by_state         ON requests (state, id);
CREATE INDEX requests_of_task          ON requests (task_id, id) WHERE task_id IS NOT NULL;
CREATE UNIQUE INDEX requests_idempotent ON requests (access_key, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE request_attempts (
    request_id      TEXT COLLATE "C" NOT NULL,
    number          BIGINT NOT NULL,
    started_ms      BIGINT NOT NULL,
    ended_ms        BIGINT,                         -- NULL: under way, or it ended with its worker and nobody knows when
    reason          TEXT,                           -- why it did not end well
    PRIMARY KEY (request_id, number)
);

CREATE TABLE files (
    name            TEXT COLLATE "C" PRIMARY KEY,
    request_id      TEXT COLLATE "C" NOT NULL,
    content_type    TEXT NOT NULL,
    bytes           BIGINT NOT NULL,
    width           BIGINT,                         -- of a picture, device pixels
    height          BIGINT,
    attachment      TEXT,
    expires_ms      BIGINT NOT NULL,
    part            BIGINT NOT NULL,                -- 0: the result itself; from 1: what belongs to it (slices)
    removed         BOOLEAN NOT NULL DEFAULT FALSE  -- gone from the store; the row still says that it was there
);

CREATE INDEX files_of_request ON files (request_id);
CREATE INDEX files_expiring   ON files (expires_ms) WHERE NOT removed;

CREATE TABLE deliveries (
    id              TEXT COLLATE "C" PRIMARY KEY,   -- the webhook-id
    request_id      TEXT COLLATE "C" NOT NULL,
    access_key      TEXT COLLATE "C" NOT NULL,
    url             TEXT NOT NULL,
    receiver        TEXT COLLATE "C" NOT NULL,      -- host and port of the url
    endpoint        TEXT COLLATE "C" NOT NULL,      -- the url without its query
    sign            BOOLEAN NOT NULL,
    headers         TEXT NOT NULL,                  -- JSON array of pairs, without signatures
    body            BYTEA,                          -- the very bytes of every attempt; or
    body_file       TEXT,                           -- the name of the file whose bytes they are
    state           TEXT COLLATE "C" NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0,
    first_attempt   BIGINT NOT NULL DEFAULT 0,      -- attempts made before it was last replayed
    postponed       BIGINT NOT NULL DEFAULT 0,      -- attempts that failed by a fault of this installation
    due_ms          BIGINT NOT NULL,
    lease_owner     TEXT,                           -- the backend that sends it
    lease_until_ms  BIGINT,
    finished_ms     BIGINT,
    end_reason      TEXT                            -- why it is dead
) WITH (fillfactor = 80);

CREATE INDEX deliveries_due            ON deliveries (receiver, due_ms) WHERE state = 'pending';
CREATE INDEX deliveries_leased         ON deliveries (receiver, lease_until_ms) WHERE state = 'sending';
CREATE INDEX deliveries_of_request     ON deliveries (request_id);
CREATE INDEX deliveries_by_key         ON deliveries (access_key, id);
CREATE INDEX deliveries_dead           ON deliveries (access_key, id) WHERE state = 'dead';
CREATE INDEX deliveries_dead_by_age    ON deliveries (id) WHERE state = 'dead';
CREATE INDEX deliveries_pending_by_age ON deliveries (id) WHERE state = 'pending';
CREATE INDEX deliveries_sending_by_age ON deliveries (id) WHERE state = 'sending';
CREATE INDEX deliveries_due_first      ON deliveries (due_ms) WHERE state = 'pending';

CREATE TABLE attempts (
    delivery_id     TEXT COLLATE "C" NOT NULL,
    number          BIGINT NOT NULL,
    at_ms           BIGINT NOT NULL,
    took_ms         BIGINT NOT NULL,
    status          BIGINT,
    error           TEXT,
    answer          TEXT NOT NULL,                  -- first bytes of what the receiver said
    PRIMARY KEY (delivery_id, number)
);

-- Receivers whose last attempts failed; one that answered is not in here.
CREATE TABLE receivers (
    receiver        TEXT COLLATE "C" PRIMARY KEY,
    failures        BIGINT NOT NULL,                -- in a row
    last_failure_ms BIGINT NOT NULL
);

-- Endpoints of a key whose last attempt failed; one that answered is not in here.
CREATE TABLE endpoints (
    access_key       TEXT COLLATE "C" NOT NULL,
    url              TEXT COLLATE "C" NOT NULL,     -- without its query
    failures         BIGINT NOT NULL,               -- in a row
    failing_since_ms BIGINT NOT NULL,
    last_failure_ms  BIGINT NOT NULL,
    last_error       TEXT NOT NULL,
    disabled_ms      BIGINT                         -- from then on nothing is sent to it
);

-- By a hash: an index holds no text as long as an address may be.
CREATE UNIQUE INDEX endpoints_by_url ON endpoints (access_key, md5(url));

CREATE INDEX endpoints_failing ON endpoints (last_failure_ms) WHERE disabled_ms IS NULL;

CREATE TABLE cache (
    key             TEXT COLLATE "C" PRIMARY KEY,   -- hash of access key and canonical options
    file            TEXT NOT NULL,                  -- its bytes are the answer, unless there is a body
    headers         TEXT NOT NULL,                  -- JSON array of pairs
    body            TEXT,
    expires_ms      BIGINT NOT NULL
);

CREATE INDEX cache_expiring ON cache (expires_ms);

CREATE TABLE tasks (
    id                  BIGINT PRIMARY KEY,
    access_key          TEXT COLLATE "C" NOT NULL,
    name                TEXT NOT NULL,
    endpoint            TEXT NOT NULL,              -- path of the route
    query               BYTEA NOT NULL,             -- sealed: it may hold credentials
    frequency           TEXT NOT NULL,
    crontab             TEXT NOT NULL,
    time_zone           TEXT NOT NULL,              -- IANA name
    enabled             BOOLEAN NOT NULL,
    created_ms          BIGINT NOT NULL,
    due_ms              BIGINT,                     -- NULL: it does not run
    revision            BIGINT NOT NULL DEFAULT 0,  -- changes of what its owner decides
    runs                BIGINT NOT NULL DEFAULT 0,  -- requests made
    last_run_ms         BIGINT,
    last_status         TEXT,                       -- state of the last request, or 'refused'
    last_request_id     TEXT COLLATE "C",
    last_error_code     TEXT,
    last_error_message  TEXT
);

CREATE INDEX tasks_due    ON tasks (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX tasks_by_key ON tasks (access_key, created_ms, id);

CREATE TABLE admin (
    id              BIGINT PRIMARY KEY CHECK (id = 1),
    password_hash   TEXT NOT NULL,                  -- argon2id, as a PHC string
    changed_ms      BIGINT NOT NULL
);

CREATE TABLE sessions (
    token_hash      TEXT COLLATE "C" PRIMARY KEY,   -- SHA-256 of what the browser has
    created_ms      BIGINT NOT NULL,
    idle_until_ms   BIGINT NOT NULL,
    ends_ms         BIGINT NOT NULL
);

-- Whose turn it is. Whoever claims for a key holds its row until it is committed; others pass on to the next key meanwhile.
CREATE TABLE turns (
    access_key      TEXT COLLATE "C" PRIMARY KEY,
    taken           BIGINT NOT NULL DEFAULT 0       -- the number of its last turn
) WITH (fillfactor = 50);
CREATE SEQUENCE turn_numbers;

-- What is counted, is counted in shards: one row for all would be held by one transaction after the other, each until its
-- commit is on the disk. A connection has a shard, whatever it counts; what is read is the sum.
CREATE FUNCTION shard() RETURNS BIGINT LANGUAGE sql STABLE AS 'SELECT (pg_backend_pid() % 16)::bigint';

-- Requests that wait.
CREATE TABLE queue_sizes (
    shard           BIGINT PRIMARY KEY,
    queued          BIGINT NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE key_counters (
    access_key      TEXT COLLATE "C" NOT NULL,
    shard           BIGINT NOT NULL,
    unfinished      BIGINT NOT NULL DEFAULT 0,      -- requests that are queued or rendering
    minute          BIGINT NOT NULL DEFAULT 0,      -- Unix minutes; the next column counts in this one
    started         BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (access_key, shard)
) WITH (fillfactor = 50);

CREATE TABLE key_months (
    access_key      TEXT COLLATE "C" NOT NULL,
    month           BIGINT NOT NULL,                -- 202611
    shard           BIGINT NOT NULL,
    rendered        BIGINT NOT NULL,                -- requests that ended as done in it
    PRIMARY KEY (access_key, month, shard)
) WITH (fillfactor = 50);

-- What was done in each hour (Unix hours): requests in the hour in which they came, ends in the hour of the end.
CREATE TABLE usage_hours (
    hour            BIGINT NOT NULL,
    access_key      TEXT COLLATE "C" NOT NULL,
    shard           BIGINT NOT NULL,
    requests        BIGINT NOT NULL DEFAULT 0,
    done            BIGINT NOT NULL DEFAULT 0,
    failed          BIGINT NOT NULL DEFAULT 0,
    cancelled       BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, access_key, shard)
) WITH (fillfactor = 50);

-- Classes of render times, by where they begin: each an eighth wide, and five milliseconds where that is less.
CREATE TABLE render_classes (from_ms BIGINT PRIMARY KEY);
INSERT INTO render_classes (from_ms)
WITH RECURSIVE class (from_ms) AS (
    SELECT 0::bigint
    UNION ALL
    SELECT from_ms + greatest(5, from_ms / 8) FROM class WHERE from_ms < 3600000
)
SELECT from_ms FROM class;

-- How many renders that succeeded took how long.
CREATE TABLE render_hours (
    hour            BIGINT NOT NULL,
    access_key      TEXT COLLATE "C" NOT NULL,
    class_ms        BIGINT NOT NULL,                -- one of the classes
    shard           BIGINT NOT NULL,
    renders         BIGINT NOT NULL,
    PRIMARY KEY (hour, access_key, class_ms, shard)
) WITH (fillfactor = 50);

-- Files in the store, and their bytes.
CREATE TABLE holdings (
    shard           BIGINT PRIMARY KEY,
    files           BIGINT NOT NULL,
    bytes           BIGINT NOT NULL
) WITH (fillfactor = 10);

CREATE FUNCTION count_queued(difference BIGINT) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO queue_sizes AS q (shard, queued) VALUES (shard(), difference)
    ON CONFLICT (shard) DO UPDATE SET queued = q.queued + excluded.queued;
$$;

-- Triggers, and not statements beside each change of state: whatever moves a request, by whatever way, is counted in the
-- same transaction, once. All of them take their rows in one order (task, size, counters, month, hours, holdings), so that
-- two connections with the same shard that move one request each wait for each other one way only. Where one of them moves
-- several, it may be both ways: the server ends one of the two, and its transaction is tried again.
CREATE FUNCTION request_begins() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'queued' THEN
        PERFORM count_queued(1);
        INSERT INTO turns (access_key) VALUES (NEW.access_key) ON CONFLICT DO NOTHING;
    END IF;
    IF NEW.state IN ('queued', 'rendering') THEN
        -- One that was rendered for a caller who waited has been counted as started when it was let in.
        INSERT INTO key_counters AS c (access_key, shard, unfinished, minute, started)
        VALUES (NEW.access_key, shard(), 1, NEW.created_ms / 60000, (NEW.state = 'queued')::int)
        ON CONFLICT (access_key, shard) DO UPDATE
        SET unfinished = c.unfinished + 1,
            started = CASE WHEN excluded.started = 0 OR c.minute = excluded.minute THEN c.started ELSE 0 END + excluded.started,
            minute = CASE excluded.started WHEN 0 THEN c.minute ELSE excluded.minute END;
    END IF;
    INSERT INTO usage_hours AS u (hour, access_key, shard, requests)
    VALUES (NEW.created_ms / 3600000, NEW.access_key, shard(), 1)
    ON CONFLICT (hour, access_key, shard) DO UPDATE SET requests = u.requests + 1;
    RETURN NULL;
END;
$$;
CREATE TRIGGER request_begins AFTER INSERT ON requests FOR EACH ROW EXECUTE FUNCTION request_begins();

CREATE FUNCTION request_moves() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    -- A task knows how its last run went, in the transaction in which it went so.
    IF NEW.task_id IS NOT NULL THEN
        UPDATE tasks
        SET last_status = NEW.state, last_error_code = NEW.error_code, last_error_message = NEW.error_message
        WHERE id = NEW.task_id AND last_request_id = NEW.id;
    END IF;
    IF (OLD.state = 'queued') <> (NEW.state = 'queued') THEN
        PERFORM count_queued(CASE NEW.state WHEN 'queued' THEN 1 ELSE -1 END);
    END IF;
    IF OLD.state IN ('queued', 'rendering') AND NEW.state NOT IN ('queued', 'rendering') THEN
        -- Counted off in this connection's shard, wherever it was counted on: the sum is what counts.
        INSERT INTO key_counters AS c (access_key, shard, unfinished) VALUES (NEW.access_key, shard(), -1)
        ON CONFLICT (access_key, shard) DO UPDATE SET unfinished = c.unfinished - 1;
        IF NEW.state = 'done' THEN
            INSERT INTO key_months AS m (access_key, month, shard, rendered)
            VALUES (NEW.access_key, to_char(to_timestamp(NEW.finished_ms / 1000) AT TIME ZONE 'UTC', 'YYYYMM')::bigint,
                    shard(), 1)
            ON CONFLICT (access_key, month, shard) DO UPDATE SET rendered = m.rendered + 1;
        END IF;
    END IF;
    IF OLD.finished_ms IS NULL AND NEW.finished_ms IS NOT NULL THEN
        INSERT INTO usage_hours AS u (hour, access_key, shard, done, failed, cancelled)
        VALUES (NEW.finished_ms / 3600000, NEW.access_key, shard(), (NEW.state = 'done')::int, (NEW.state = 'failed')::int,
                (NEW.state = 'cancelled')::int)
        ON CONFLICT (hour, access_key, shard) DO UPDATE
        SET done = u.done + excluded.done, failed = u.failed + excluded.failed,
            cancelled = u.cancelled + excluded.cancelled;
        IF NEW.state = 'done' AND NEW.render_ms IS NOT NULL THEN
            INSERT INTO render_hours AS h (hour, access_key, class_ms, shard, renders)
            SELECT NEW.finished_ms / 3600000, NEW.access_key, max(from_ms), shard(), 1 FROM render_classes
            WHERE from_ms <= NEW.render_ms
            ON CONFLICT (hour, access_key, class_ms, shard) DO UPDATE SET renders = h.renders + 1;
        END IF;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER request_moves AFTER UPDATE OF state ON requests FOR EACH ROW EXECUTE FUNCTION request_moves();

CREATE FUNCTION file_moves() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    sign INT := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    size BIGINT := CASE TG_OP WHEN 'INSERT' THEN NEW.bytes ELSE OLD.bytes END;
BEGIN
    INSERT INTO holdings AS h (shard, files, bytes) VALUES (shard(), sign, sign * size)
    ON CONFLICT (shard) DO UPDATE SET files = h.files + excluded.files, bytes = h.bytes + excluded.bytes;
    RETURN NULL;
END;
$$;
CREATE TRIGGER file_kept AFTER INSERT ON files FOR EACH ROW WHEN (NOT NEW.removed) EXECUTE FUNCTION file_moves();
CREATE TRIGGER file_removed AFTER UPDATE OF removed ON files FOR EACH ROW WHEN (NEW.removed AND NOT OLD.removed)
    EXECUTE FUNCTION file_moves();
CREATE TRIGGER file_deleted AFTER DELETE ON files FOR EACH ROW WHEN (NOT OLD.removed) EXECUTE FUNCTION file_moves();

-- What leases the next request, claim_request, is in schema_4.sql.
