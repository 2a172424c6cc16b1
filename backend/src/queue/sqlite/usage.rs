//! SQL over what keys have used. Ends of requests are counted by the triggers of the schema; here are their beginnings.

use rusqlite::{Connection, OptionalExtension, params};
use snaphook_shared::key::KeyLimits;

use crate::domain::limits::{self, Usage};

/// What a key has used, but for the callers who wait in some process. A key that is not there has no limits.
pub(super) fn get(connection: &Connection, access_key: &str, now_ms: u64) -> rusqlite::Result<Usage> {
    let usage = connection
        .prepare_cached(
            "SELECT k.monthly_quota, k.requests_per_minute, k.concurrency, coalesce(m.rendered, 0),
                    coalesce(c.unfinished, 0), iif(c.minute = ?3, c.started, 0)
             FROM keys k
             LEFT JOIN key_counters c ON c.access_key = k.access_key
             LEFT JOIN key_months m ON m.access_key = k.access_key AND m.month = ?2
             WHERE k.access_key = ?1",
        )?
        .query_row(params![access_key, limits::month(now_ms), limits::minute(now_ms)], |row| {
            Ok(Usage {
                limits: KeyLimits {
                    monthly_quota: row.get(0)?,
                    requests_per_minute: row.get(1)?,
                    concurrency: row.get(2)?,
                },
                rendered: row.get(3)?,
                unfinished: row.get(4)?,
                started: row.get(5)?,
                under_way: 0,
            })
        })
        .optional()?;
    Ok(usage.unwrap_or_default())
}

/// Counts a request that starts now.
pub(super) fn start(connection: &Connection, access_key: &str, now_ms: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO key_counters (access_key, minute, started) VALUES (?1, ?2, 1)
             ON CONFLICT (access_key) DO UPDATE SET started = iif(minute = ?2, started + 1, 1), minute = ?2",
        )?
        .execute(params![access_key, limits::minute(now_ms)])
        .map(|_| ())
}

/// Requests of a key that workers hold. There are never more than there are workers, so counting them is cheap.
pub(super) fn rendering(connection: &Connection, access_key: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM requests WHERE state = 'rendering' AND access_key = ?")?
        .query_row([access_key], |row| row.get(0))
}

/// Keys that have as many requests under way as they may: their queued ones wait. `waiting` counts a key's callers who wait.
pub(super) fn busy(connection: &Connection, waiting: impl Fn(&str) -> u64) -> rusqlite::Result<Vec<String>> {
    let limited = connection
        .prepare_cached("SELECT access_key, concurrency FROM keys WHERE concurrency IS NOT NULL")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut busy = Vec::new();
    for (access_key, limit) in limited {
        if rendering(connection, &access_key)? + waiting(&access_key) >= limit {
            busy.push(access_key);
        }
    }
    Ok(busy)
}
