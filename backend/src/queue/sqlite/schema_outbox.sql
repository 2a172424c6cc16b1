-- Every attempt to render with its times and its reason; endpoints of webhooks that keep failing; why a delivery ended; more
-- than one secret before the current one.

CREATE TABLE request_attempts (
    request_id      TEXT NOT NULL,
    number          INTEGER NOT NULL,
    started_ms      INTEGER NOT NULL,
    ended_ms        INTEGER,                        -- NULL: under way, or it ended with its worker and nobody knows when
    reason          TEXT,                           -- why it did not end well
    PRIMARY KEY (request_id, number)
) STRICT, WITHOUT ROWID;

-- Attempts of either kind that failed by a fault of this installation, and so were not counted.
ALTER TABLE requests   ADD COLUMN postponed  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN postponed  INTEGER NOT NULL DEFAULT 0;

ALTER TABLE deliveries ADD COLUMN endpoint   TEXT NOT NULL DEFAULT '';  -- the url without its query
ALTER TABLE deliveries ADD COLUMN end_reason TEXT;                      -- why it is dead
UPDATE deliveries SET endpoint = CASE instr(url, '?') WHEN 0 THEN url ELSE substr(url, 1, instr(url, '?') - 1) END;

CREATE INDEX deliveries_dead ON deliveries (access_key, id) WHERE state = 'dead';

-- Endpoints of a key whose last attempt failed; one that answered is not in here.
CREATE TABLE endpoints (
    access_key      TEXT NOT NULL,
    url             TEXT NOT NULL,                  -- without its query
    failures        INTEGER NOT NULL,               -- in a row
    failing_since_ms INTEGER NOT NULL,
    last_failure_ms INTEGER NOT NULL,
    last_error      TEXT NOT NULL,
    disabled_ms     INTEGER,                        -- from then on nothing is sent to it
    PRIMARY KEY (access_key, url)
) STRICT, WITHOUT ROWID;

CREATE INDEX endpoints_failing ON endpoints (last_failure_ms) WHERE disabled_ms IS NULL;

-- Secrets of before the last rotations.
CREATE TABLE previous_secrets (
    access_key      TEXT NOT NULL,
    number          INTEGER NOT NULL,               -- the highest is the newest
    secret          BLOB NOT NULL,                  -- sealed with the root key
    until_ms        INTEGER NOT NULL,               -- good until then
    PRIMARY KEY (access_key, number)
) STRICT, WITHOUT ROWID;
INSERT INTO previous_secrets (access_key, number, secret, until_ms)
SELECT access_key, 1, previous_secret, previous_until_ms FROM keys
WHERE previous_secret IS NOT NULL AND previous_until_ms IS NOT NULL;
ALTER TABLE keys DROP COLUMN previous_secret;
ALTER TABLE keys DROP COLUMN previous_until_ms;

ALTER TABLE receivers ADD COLUMN last_failure_ms INTEGER NOT NULL DEFAULT 0;
