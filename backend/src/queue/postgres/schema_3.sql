-- A constant that was sealed with the root key: with another one it does not open.
CREATE TABLE root_key (
    id              BIGINT PRIMARY KEY CHECK (id = 1),
    proof           BYTEA NOT NULL
);

-- As before, but for the minute: clocks that differ by a second are in two minutes for as long, and whoever is behind counts in
-- that of the other and does not begin an earlier one anew.
CREATE OR REPLACE FUNCTION request_begins() RETURNS TRIGGER LANGUAGE plpgsql AS $$
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
            started = CASE WHEN excluded.started = 0 OR c.minute IN (excluded.minute, excluded.minute + 1) THEN c.started
                           ELSE 0 END + excluded.started,
            minute = CASE WHEN excluded.started = 0 OR c.minute = excluded.minute + 1 THEN c.minute
                          ELSE excluded.minute END;
    END IF;
    INSERT INTO usage_hours AS u (hour, access_key, shard, requests)
    VALUES (NEW.created_ms / 3600000, NEW.access_key, shard(), 1)
    ON CONFLICT (hour, access_key, shard) DO UPDATE SET requests = u.requests + 1;
    RETURN NULL;
END;
$$;

-- Requests that wait are counted by every accept and every claim, in whose way nobody should be: a connection has a shard that
-- hardly any other one has. The sum is read over those that there are.
CREATE OR REPLACE FUNCTION count_queued(difference BIGINT) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO queue_sizes AS q (shard, queued) VALUES (pg_backend_pid() % 1024, difference)
    ON CONFLICT (shard) DO UPDATE SET queued = q.queued + excluded.queued;
$$;
