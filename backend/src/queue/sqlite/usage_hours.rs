//! SQL over `usage_hours` and `render_hours`, which the schema's triggers keep: what was done when, and how long it took.

use std::collections::BTreeMap;

use rusqlite::{Connection, named_params, params};

use crate::domain::operator::{KeyUsage, USAGE_KEPT_HOURS, UsageSpan};

const HOUR_MS: u64 = 3_600_000;

pub(super) fn over_time(
    connection: &Connection,
    access_key: Option<&str>,
    from_ms: u64,
    to_ms: u64,
    span_hours: u64,
) -> rusqlite::Result<Vec<UsageSpan>> {
    let span_hours = span_hours.max(1);
    let hours = named_params! {
        ":key": access_key, ":from": from_ms / HOUR_MS, ":to": to_ms.div_ceil(HOUR_MS), ":span": span_hours
    };
    let mut spans = BTreeMap::new();
    let mut counts = connection.prepare_cached(
        "SELECT hour / :span AS span, sum(requests), sum(done), sum(failed), sum(cancelled) FROM usage_hours
         WHERE hour >= :from AND hour < :to AND (:key IS NULL OR access_key = :key) GROUP BY span",
    )?;
    let mut rows = counts.query(hours)?;
    while let Some(row) = rows.next()? {
        let number: u64 = row.get(0)?;
        let usage = UsageSpan {
            start_ms: number * span_hours * HOUR_MS,
            requests: row.get(1)?,
            done: row.get(2)?,
            failed: row.get(3)?,
            cancelled: row.get(4)?,
            ..UsageSpan::default()
        };
        spans.insert(number, usage);
    }
    let mut times = connection.prepare_cached(
        "SELECT hour / :span AS span, class_ms, sum(renders) FROM render_hours
         WHERE hour >= :from AND hour < :to AND (:key IS NULL OR access_key = :key) GROUP BY span, class_ms",
    )?;
    let mut rows = times.query(hours)?;
    while let Some(row) = rows.next()? {
        let number: u64 = row.get(0)?;
        if let Some(span) = spans.get_mut(&number) {
            span.times.add(row.get(1)?, row.get(2)?);
        }
    }
    Ok(spans.into_values().collect())
}

pub(super) fn by_key(connection: &Connection, from_ms: u64, to_ms: u64) -> rusqlite::Result<Vec<KeyUsage>> {
    let hours = params![from_ms / HOUR_MS, to_ms.div_ceil(HOUR_MS)];
    let mut keys: BTreeMap<String, UsageSpan> = connection
        .prepare_cached(
            "SELECT access_key, sum(requests), sum(done), sum(failed), sum(cancelled) FROM usage_hours
             WHERE hour >= ? AND hour < ? GROUP BY access_key",
        )?
        .query_map(hours, |row| {
            let (requests, done, failed, cancelled) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let usage = UsageSpan { start_ms: from_ms, requests, done, failed, cancelled, ..UsageSpan::default() };
            Ok((row.get(0)?, usage))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut times = connection.prepare_cached(
        "SELECT access_key, class_ms, sum(renders) FROM render_hours
         WHERE hour >= ? AND hour < ? GROUP BY access_key, class_ms",
    )?;
    let mut rows = times.query(hours)?;
    while let Some(row) = rows.next()? {
        if let Some(usage) = keys.get_mut(&row.get::<_, String>(0)?) {
            usage.times.add(row.get(1)?, row.get(2)?);
        }
    }
    let mut keys: Vec<KeyUsage> = keys.into_iter().map(|(access_key, usage)| KeyUsage { access_key, usage }).collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.usage.requests));
    Ok(keys)
}

/// Forgets what is older than is remembered, at most `limit` rows of each kind at a time.
pub(super) fn forget(connection: &Connection, now_ms: u64, limit: u32) -> rusqlite::Result<u64> {
    let before = (now_ms / HOUR_MS).saturating_sub(USAGE_KEPT_HOURS);
    let mut rows = 0;
    for sql in [
        "DELETE FROM usage_hours WHERE (hour, access_key) IN (
             SELECT hour, access_key FROM usage_hours WHERE hour < ? LIMIT ?)",
        "DELETE FROM render_hours WHERE (hour, access_key, class_ms) IN (
             SELECT hour, access_key, class_ms FROM render_hours WHERE hour < ? LIMIT ?)",
    ] {
        rows += connection.prepare_cached(sql)?.execute(params![before, limit])?;
    }
    Ok(rows as u64)
}

#[cfg(test)]
mod tests {
    use super::super::schema::MIGRATIONS;
    use super::*;

    const OWN: &str = include_str!("schema_dashboard.sql");

    /// Requests and files as the service writes them: ends of every kind, one that goes on, a file that is gone.
    fn work(connection: &Connection) {
        for (number, (state, render_ms)) in
            [("done", Some(3)), ("done", Some(700)), ("done", Some(9_000_000)), ("failed", None), ("cancelled", None)]
                .into_iter()
                .enumerate()
        {
            let (id, created_ms) = (format!("req_{number}"), number as u64 * HOUR_MS / 2);
            connection
                .execute(
                    "INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, fingerprint, state, due_ms,
                                           created_ms)
                     VALUES (?1, 'AK', '/take', 1, '{}', 'html', '', 'queued', ?2, ?2)",
                    params![id, created_ms],
                )
                .unwrap();
            connection.execute("UPDATE requests SET state = 'rendering' WHERE id = ?", [&id]).unwrap();
            connection
                .execute(
                    "UPDATE requests SET state = ?, finished_ms = ?, render_ms = ? WHERE id = ?",
                    params![state, created_ms + HOUR_MS, render_ms, id],
                )
                .unwrap();
            connection
                .execute(
                    "INSERT INTO files (name, request_id, content_type, bytes, expires_ms) VALUES (?1, ?1, '', 10, 0)",
                    [&id],
                )
                .unwrap();
        }
        connection
            .execute_batch(
                "INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, fingerprint, state, due_ms,
                                       created_ms)
                 VALUES ('req_9', 'BK', '/take', 1, '{}', 'html', '', 'queued', 0, 0);
                 UPDATE files SET removed = 1 WHERE name = 'req_0';
                 DELETE FROM files WHERE name IN ('req_0', 'req_1');",
            )
            .unwrap();
    }

    #[test]
    fn what_was_there_before_is_counted_like_what_comes() {
        let (older, newer) = (Connection::open_in_memory().unwrap(), Connection::open_in_memory().unwrap());
        let mut is_older = true;
        for migration in MIGRATIONS {
            if migration.sql == OWN {
                work(&older);
                is_older = false;
            }
            older.execute_batch(migration.sql).unwrap();
            newer.execute_batch(migration.sql).unwrap();
        }
        assert!(!is_older);
        work(&newer);
        for connection in [&older, &newer] {
            let spans = over_time(connection, None, 0, 10 * HOUR_MS, 1).unwrap();
            let counts: Vec<_> =
                spans.iter().map(|span| (span.requests, span.done, span.failed, span.cancelled)).collect();
            assert_eq!(counts, [(3, 0, 0, 0), (2, 2, 0, 0), (1, 1, 1, 0), (0, 0, 0, 1)]);
            let longest = spans[2].times.percentile(1.0).unwrap();
            assert!(longest >= 3_600_000, "the last class takes what is longer: {longest}");
            let days = over_time(connection, Some("AK"), 0, 24 * HOUR_MS, 24).unwrap();
            assert_eq!((days.len(), days[0].requests, days[0].done), (1, 5, 3));
            assert!((600..800).contains(&days[0].times.percentile(0.5).unwrap()));
            let keys = by_key(connection, 0, 10 * HOUR_MS).unwrap();
            let of_keys: Vec<_> = keys.iter().map(|key| (key.access_key.as_str(), key.usage.requests)).collect();
            assert_eq!(of_keys, [("AK", 5), ("BK", 1)]);
            let held: (u64, u64) = connection
                .query_row("SELECT files, bytes FROM holdings", [], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            assert_eq!(held, (3, 30));
            assert_eq!(forget(connection, USAGE_KEPT_HOURS * HOUR_MS, 2).unwrap(), 0);
            let forget = || forget(connection, (USAGE_KEPT_HOURS + 10) * HOUR_MS, 2).unwrap();
            assert_eq!(forget(), 4, "so many rows of each kind");
            let mut batches = 1;
            while forget() > 0 {
                batches += 1;
            }
            assert!(batches > 2, "{batches}");
            assert!(over_time(connection, None, 0, 10 * HOUR_MS, 1).unwrap().is_empty());
        }
    }
}
