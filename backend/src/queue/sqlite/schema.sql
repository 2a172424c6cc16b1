-- Times are Unix milliseconds. A state is written as its name.

CREATE TABLE keys (
    access_key          TEXT PRIMARY KEY,
    name                TEXT NOT NULL DEFAULT '',
    secret              BLOB NOT NULL,              -- sealed with the root key
    previous_secret     BLOB,                       -- sealed; good until previous_until_ms
    previous_until_ms   INTEGER,
    require_signed      INTEGER NOT NULL DEFAULT 0,
    created_ms          INTEGER NOT NULL,
    revoked_ms          INTEGER,
    last_claimed_ms     INTEGER NOT NULL DEFAULT 0  -- when a request of this key was last given to a worker
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (
    id              TEXT PRIMARY KEY,               -- begins with the time, so it sorts by age
    access_key      TEXT NOT NULL,
    endpoint        TEXT NOT NULL,                  -- path of the route, which also says the dialect
    asynchronous    INTEGER NOT NULL,
    options         TEXT NOT NULL,                  -- checked options, JSON
    target          TEXT NOT NULL,                  -- what is shown as the thing rendered
    idempotency_key TEXT,
    fingerprint     TEXT NOT NULL,
    state           TEXT NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,     -- leases given
    failures        INTEGER NOT NULL DEFAULT 0,     -- of them ended by a failure that may be retried
    due_ms          INTEGER NOT NULL,               -- not claimed before
    lease_owner     TEXT,
    lease_until_ms  INTEGER,
    created_ms      INTEGER NOT NULL,
    started_ms      INTEGER,
    finished_ms     INTEGER,
    render_ms       INTEGER,
    error_code      TEXT,
    error_message   TEXT,                           -- for the caller
    error_cause     TEXT                            -- for the operator
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_due       ON requests (access_key, due_ms) WHERE state = 'queued';
CREATE INDEX requests_leased    ON requests (access_key, lease_until_ms) WHERE state = 'rendering';
CREATE INDEX requests_by_key    ON requests (access_key, id);
CREATE INDEX requests_ended     ON requests (finished_ms) WHERE finished_ms IS NOT NULL;
CREATE INDEX requests_by_state  ON requests (state, id);
CREATE UNIQUE INDEX requests_idempotent ON requests (access_key, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE files (
    name            TEXT PRIMARY KEY,
    request_id      TEXT NOT NULL,
    content_type    TEXT NOT NULL,
    bytes           INTEGER NOT NULL,
    width           INTEGER NOT NULL,
    height          INTEGER NOT NULL,
    attachment      TEXT,
    expires_ms      INTEGER NOT NULL,
    removed         INTEGER NOT NULL DEFAULT 0      -- gone from the store; the row still says that it was there
) STRICT, WITHOUT ROWID;

CREATE INDEX files_of_request ON files (request_id);
CREATE INDEX files_expiring   ON files (expires_ms) WHERE removed = 0;

CREATE TABLE deliveries (
    id              TEXT PRIMARY KEY,               -- the webhook-id
    request_id      TEXT NOT NULL,
    access_key      TEXT NOT NULL,
    url             TEXT NOT NULL,
    receiver        TEXT NOT NULL,                  -- host and port of the url
    sign            INTEGER NOT NULL,
    headers         TEXT NOT NULL,                  -- JSON array of pairs, without signatures
    body            BLOB,                           -- the very bytes of every attempt; or
    body_file       TEXT,                           -- the name of the file whose bytes they are
    state           TEXT NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    first_attempt   INTEGER NOT NULL DEFAULT 0,     -- attempts made before it was last replayed
    due_ms          INTEGER NOT NULL,
    lease_until_ms  INTEGER,
    finished_ms     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_due        ON deliveries (receiver, due_ms) WHERE state = 'pending';
CREATE INDEX deliveries_leased     ON deliveries (receiver, lease_until_ms) WHERE state = 'sending';
CREATE INDEX deliveries_of_request ON deliveries (request_id);
CREATE INDEX deliveries_by_key     ON deliveries (access_key, id);

-- Receivers whose last attempts failed; one that answered is not in here.
CREATE TABLE receivers (
    receiver        TEXT PRIMARY KEY,
    failures        INTEGER NOT NULL                -- in a row
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    delivery_id     TEXT NOT NULL,
    number          INTEGER NOT NULL,
    at_ms           INTEGER NOT NULL,
    took_ms         INTEGER NOT NULL,
    status          INTEGER,
    error           TEXT,
    answer          TEXT NOT NULL,                  -- first bytes of what the receiver said
    PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;
