//! SQL over `usage_hours` and `render_hours`, which the schema's triggers keep: what was done when, and how long it took.

use std::collections::BTreeMap;

use rusqlite::{Connection, named_params, params};

use crate::domain::operator::{KeyUsage, UsageSpan};

const HOUR_MS: u64 = 3_600_000;

/// Hours that are remembered: 400 days.
const KEPT_HOURS: u64 = 400 * 24;

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

/// Forgets what is older than is remembered.
pub(super) fn forget(connection: &Connection, now_ms: u64) -> rusqlite::Result<u64> {
    let before = (now_ms / HOUR_MS).saturating_sub(KEPT_HOURS);
    let mut rows = 0;
    for sql in ["DELETE FROM usage_hours WHERE hour < ?", "DELETE FROM render_hours WHERE hour < ?"] {
        rows += connection.prepare_cached(sql)?.execute([before])?;
    }
    Ok(rows as u64)
}
