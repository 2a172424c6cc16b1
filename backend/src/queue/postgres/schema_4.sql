-- What waits is found in here, requests and deliveries.
--
-- The server plans by statistics that it takes now and then, and by these little waits as a rule: so little that it may as well read
-- all of it and sort. It keeps to that plan while a burst of a hundred thousand waits, and then a claim takes a second. So everything
-- here asks in the order of the one index that leads there, all of its columns, first row by first row; no function here may sort what
-- waits, nor read a table from end to end. Only keys and receivers are sorted. The server takes what may not be for so costly that it would compile the rest: it may not either.

-- How many requests of a key wait, counted up to a number.
CREATE FUNCTION queued_of(key TEXT, at_most BIGINT) RETURNS BIGINT LANGUAGE sql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    SELECT count(*) FROM (SELECT FROM requests r WHERE r.state = 'queued' AND r.access_key = key
                          ORDER BY r.urgency, r.due_ms LIMIT at_most) q;
$$;

-- Since when the first request has been due that a worker could have at once: of each key that waits and may have one more under way,
-- the first that is due at each level of urgency is looked at. `waiting` as below.
CREATE FUNCTION ready_since(now_ms BIGINT, last_urgency BIGINT, waiting JSONB) RETURNS BIGINT LANGUAGE sql STABLE
SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
    WITH RECURSIVE waiting_keys (access_key) AS (
        (SELECT r.access_key FROM requests r WHERE r.state = 'queued'
         ORDER BY r.access_key, r.urgency, r.due_ms LIMIT 1)
        UNION ALL
        SELECT (SELECT r.access_key FROM requests r WHERE r.state = 'queued' AND r.access_key > w.access_key
                ORDER BY r.access_key, r.urgency, r.due_ms LIMIT 1)
        FROM waiting_keys w WHERE w.access_key IS NOT NULL
    )
    SELECT min((SELECT r.due_ms FROM requests r
                WHERE r.state = 'queued' AND r.access_key = w.access_key AND r.urgency = level.urgency AND r.due_ms <= now_ms
                ORDER BY r.due_ms LIMIT 1))
    FROM waiting_keys w LEFT JOIN keys k USING (access_key)
    CROSS JOIN generate_series(0, last_urgency) AS level (urgency)
    WHERE k.concurrency IS NULL OR k.concurrency > coalesce((waiting ->> w.access_key)::bigint, 0) + (
        SELECT count(*) FROM (SELECT FROM requests r WHERE r.state = 'rendering' AND r.access_key = w.access_key
                              ORDER BY r.lease_until_ms) u);
$$;

-- Leases the next request to render: of the keys that wait, of the one with the fewest renders under way, then the one whose
-- turn is the longest ago; of that key, the most urgent request, and of those the one that is due first. `waiting` says how
-- many callers of which key wait in the backend that asks: they count against the key's concurrency.
--
-- Any number of claimers may be here at once. Each holds the turn of the key that it claims for. Another one takes that key
-- for one that has a render more under way, and no turn soon: it passes it over for a key that would come next then, and
-- waits for it where there is none. Each statement sees what was committed when it began, so what is decided on is looked at
-- again once the turn is held. Callers of a key with a limit are let in under a lock (its number is Lock::UnderWay), which is
-- held here too before its renders are counted; keys without one are not slowed by it.
--
-- No part of the transaction that may be undone stands around a turn: a row that such a part has locked and the
-- whole has then changed is kept by the server as of two transactions, and all claimers wait for its notes of which. So it is looked
-- first whether a key is worth its turn. A turn that turns out not to be is kept until the commit, a moment later.
CREATE OR REPLACE FUNCTION claim_request(claimer TEXT, now_ms BIGINT, until_ms BIGINT, waiting JSONB)
RETURNS SETOF requests LANGUAGE plpgsql SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    candidate RECORD;
    turn BIGINT;
    next_id TEXT;
    claimed requests;
    passed_over BIGINT;             -- renders under way of the first key that another one claims for
    first_held TEXT;                -- that key
    again BOOLEAN;
    scans INT := 0;
BEGIN
    LOOP
        passed_over := NULL;
        again := FALSE;
        scans := scans + 1;
        FOR candidate IN
            WITH RECURSIVE waiting_keys (access_key) AS (
                (SELECT r.access_key FROM requests r WHERE r.state = 'queued'
                 ORDER BY r.access_key, r.urgency, r.due_ms LIMIT 1)
                UNION ALL
                SELECT (SELECT r.access_key FROM requests r WHERE r.state = 'queued' AND r.access_key > w.access_key
                        ORDER BY r.access_key, r.urgency, r.due_ms LIMIT 1)
                FROM waiting_keys w WHERE w.access_key IS NOT NULL
            ),
            busy AS (
                SELECT w.access_key,
                       (SELECT count(*) FROM (
                            SELECT FROM requests r WHERE r.state = 'rendering' AND r.access_key = w.access_key
                            ORDER BY r.lease_until_ms) u) AS rendering
                FROM waiting_keys w
                WHERE (SELECT TRUE FROM requests r
                       WHERE r.state = 'queued' AND r.access_key = w.access_key AND r.due_ms <= now_ms
                       ORDER BY r.urgency, r.due_ms LIMIT 1)
            )
            SELECT b.access_key, b.rendering, t.taken,
                   k.concurrency - coalesce((waiting ->> b.access_key)::bigint, 0) AS places
            FROM busy b JOIN turns t USING (access_key) LEFT JOIN keys k USING (access_key)
            WHERE k.concurrency IS NULL OR b.rendering + coalesce((waiting ->> b.access_key)::bigint, 0) < k.concurrency
            ORDER BY b.rendering, t.taken
        LOOP
            EXIT WHEN passed_over + 1 < candidate.rendering;
            -- It has had its turn since this scan began, so others may come first now. That is looked into a few times, and not
            -- without end.
            SELECT t.taken INTO turn FROM turns t WHERE t.access_key = candidate.access_key;
            again := turn <> candidate.taken AND scans < 20;
            EXIT WHEN again;
            SELECT t.taken INTO turn FROM turns t WHERE t.access_key = candidate.access_key FOR UPDATE SKIP LOCKED;
            IF turn IS NULL THEN
                first_held := CASE WHEN passed_over IS NULL THEN candidate.access_key ELSE first_held END;
                passed_over := coalesce(passed_over, candidate.rendering);
                CONTINUE;
            END IF;
            again := turn <> candidate.taken AND scans < 20;
            EXIT WHEN again;
            IF candidate.places IS NOT NULL THEN
                PERFORM pg_advisory_xact_lock(4, hashtext(candidate.access_key));
            END IF;
            CONTINUE WHEN candidate.places <= (
                SELECT count(*) FROM (SELECT FROM requests r WHERE r.state = 'rendering' AND r.access_key = candidate.access_key
                                      ORDER BY r.lease_until_ms) u);
            SELECT r.id INTO next_id FROM requests r
            WHERE r.state = 'queued' AND r.access_key = candidate.access_key AND r.due_ms <= now_ms
            ORDER BY r.urgency, r.due_ms LIMIT 1 FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN next_id IS NULL;

            UPDATE requests r
            SET state = 'rendering', attempts = r.attempts + 1, lease_owner = claimer, lease_until_ms = until_ms,
                started_ms = coalesce(r.started_ms, now_ms)
            WHERE r.id = next_id RETURNING r.* INTO claimed;
            INSERT INTO request_attempts (request_id, number, started_ms) VALUES (claimed.id, claimed.attempts, now_ms)
            ON CONFLICT (request_id, number) DO UPDATE
            SET started_ms = excluded.started_ms, ended_ms = NULL, reason = NULL;
            UPDATE turns t SET taken = nextval('turn_numbers') WHERE t.access_key = claimed.access_key;
            RETURN NEXT claimed;
            RETURN;
        END LOOP;
        IF passed_over IS NOT NULL AND NOT again THEN
            -- Until whoever claims for the first of them is done. The end of this block gives the turn back.
            BEGIN
                PERFORM FROM turns t WHERE t.access_key = first_held FOR UPDATE;
                RAISE EXCEPTION USING ERRCODE = 'SH001';
            EXCEPTION WHEN SQLSTATE 'SH001' THEN
                again := TRUE;
            END;
        END IF;
        EXIT WHEN NOT again OR scans > 100;
    END LOOP;
END;
$$;

-- Leases deliveries: of the receivers with something due, the longest due first, as many as each may still have under way: one in
-- all, while it keeps failing. So a receiver that hangs holds up its own deliveries and no others. What other backends send counts. A
-- receiver is asked for as a range: where it is said to be equal, the server drops it from the order, and the index of all that is due
-- would fit as well.
CREATE FUNCTION claim_deliveries(claimer TEXT, at_ms BIGINT, until_ms BIGINT, at_most BIGINT, per_receiver BIGINT, failures_max BIGINT)
RETURNS TABLE (id TEXT, url TEXT, sign BOOLEAN, headers TEXT, body BYTEA, body_file TEXT, access_key TEXT, attempts BIGINT,
               attempt BIGINT, postponed BIGINT, due_ms BIGINT, traceparent TEXT)
LANGUAGE plpgsql SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE waiting (receiver) AS (
        (SELECT d.receiver FROM deliveries d WHERE d.state = 'pending' ORDER BY d.receiver, d.due_ms LIMIT 1)
        UNION ALL
        SELECT (SELECT d.receiver FROM deliveries d WHERE d.state = 'pending' AND d.receiver > w.receiver
                ORDER BY d.receiver, d.due_ms LIMIT 1)
        FROM waiting w WHERE w.receiver IS NOT NULL
    ),
    open AS (
        SELECT w.receiver,
               CASE WHEN coalesce(r.failures, 0) >= failures_max THEN 1 ELSE per_receiver END
                   - (SELECT count(*) FROM (SELECT FROM deliveries d WHERE d.state = 'sending' AND d.receiver = w.receiver
                                            ORDER BY d.lease_until_ms) u) AS free,
               (SELECT d.due_ms FROM deliveries d
                WHERE d.state = 'pending' AND d.receiver >= w.receiver AND d.receiver <= w.receiver
                ORDER BY d.receiver, d.due_ms LIMIT 1) AS due_ms
        FROM waiting w LEFT JOIN receivers r ON r.receiver = w.receiver
    ),
    chosen AS (
        SELECT n.id
        FROM (SELECT open.receiver, open.free, open.due_ms FROM open WHERE open.free > 0 AND open.due_ms <= at_ms
              ORDER BY open.due_ms LIMIT at_most) o
        CROSS JOIN LATERAL (
            SELECT d.id FROM deliveries d
            WHERE d.state = 'pending' AND d.receiver >= o.receiver AND d.receiver <= o.receiver AND d.due_ms <= at_ms
            ORDER BY d.receiver, d.due_ms LIMIT o.free FOR UPDATE SKIP LOCKED
        ) n
        ORDER BY o.due_ms LIMIT at_most
    )
    UPDATE deliveries d
    SET state = 'sending', attempts = d.attempts + 1, lease_owner = claimer, lease_until_ms = until_ms
    FROM chosen WHERE d.id = chosen.id
    RETURNING d.id, d.url, d.sign, d.headers, d.body, d.body_file, d.access_key, d.attempts, d.attempts - d.first_attempt,
              d.postponed, d.due_ms, (SELECT r.traceparent FROM requests r WHERE r.id = d.request_id);
END;
$$;
