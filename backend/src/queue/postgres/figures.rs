//! SQL over what the schema's triggers count: what was done when, what is kept, what waits.

use std::collections::{BTreeMap, HashMap};

use snaphook_shared::priority::Urgency;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};

use super::database::{Numbers, int, not_json};
use crate::domain::operator::{
    COUNT_MAX, ExpiringFile, Holdings, Kept, KeyHoldings, KeyUsage, USAGE_KEPT_HOURS, UsageSpan,
};
use crate::domain::ports::Backlog;

const HOUR_MS: u64 = 3_600_000;

fn counts(row: &PgRow, start_ms: u64) -> sqlx::Result<UsageSpan> {
    Ok(UsageSpan {
        start_ms,
        requests: row.number("requests")?,
        done: row.number("done")?,
        failed: row.number("failed")?,
        cancelled: row.number("cancelled")?,
        ..UsageSpan::default()
    })
}

pub(super) async fn over_time(
    pool: &PgPool,
    access_key: Option<&str>,
    from_ms: u64,
    to_ms: u64,
    span_hours: u64,
) -> sqlx::Result<Vec<UsageSpan>> {
    let span_hours = span_hours.max(1);
    let (from, to) = (int(from_ms / HOUR_MS), int(to_ms.div_ceil(HOUR_MS)));
    let mut spans = BTreeMap::new();
    let rows = sqlx::query(
        "SELECT hour / $4 AS span, sum(requests)::bigint AS requests, sum(done)::bigint AS done,
                sum(failed)::bigint AS failed, sum(cancelled)::bigint AS cancelled
         FROM usage_hours
         WHERE hour >= $1 AND hour < $2 AND ($3::text IS NULL OR access_key = $3) GROUP BY span",
    )
    .bind(from)
    .bind(to)
    .bind(access_key)
    .bind(int(span_hours))
    .fetch_all(pool)
    .await?;
    for row in &rows {
        let number: u64 = row.number("span")?;
        spans.insert(number, counts(row, number * span_hours * HOUR_MS)?);
    }
    let rows = sqlx::query(
        "SELECT hour / $4 AS span, class_ms, sum(renders)::bigint AS renders FROM render_hours
         WHERE hour >= $1 AND hour < $2 AND ($3::text IS NULL OR access_key = $3) GROUP BY span, class_ms",
    )
    .bind(from)
    .bind(to)
    .bind(access_key)
    .bind(int(span_hours))
    .fetch_all(pool)
    .await?;
    for row in &rows {
        if let Some(span) = spans.get_mut(&row.number("span")?) {
            span.times.add(row.number("class_ms")?, row.number("renders")?);
        }
    }
    Ok(spans.into_values().collect())
}

pub(super) async fn by_key(pool: &PgPool, from_ms: u64, to_ms: u64) -> sqlx::Result<Vec<KeyUsage>> {
    let (from, to) = (int(from_ms / HOUR_MS), int(to_ms.div_ceil(HOUR_MS)));
    let rows = sqlx::query(
        "SELECT access_key, sum(requests)::bigint AS requests, sum(done)::bigint AS done, sum(failed)::bigint AS failed,
                sum(cancelled)::bigint AS cancelled
         FROM usage_hours WHERE hour >= $1 AND hour < $2 GROUP BY access_key",
    )
    .bind(from)
    .bind(to)
    .fetch_all(pool)
    .await?;
    let mut keys: BTreeMap<String, UsageSpan> =
        rows.iter().map(|row| Ok((row.try_get("access_key")?, counts(row, from_ms)?))).collect::<sqlx::Result<_>>()?;
    let rows = sqlx::query(
        "SELECT access_key, class_ms, sum(renders)::bigint AS renders FROM render_hours
         WHERE hour >= $1 AND hour < $2 GROUP BY access_key, class_ms",
    )
    .bind(from)
    .bind(to)
    .fetch_all(pool)
    .await?;
    for row in &rows {
        if let Some(usage) = keys.get_mut(row.try_get::<&str, _>("access_key")?) {
            usage.times.add(row.number("class_ms")?, row.number("renders")?);
        }
    }
    let mut keys: Vec<KeyUsage> = keys.into_iter().map(|(access_key, usage)| KeyUsage { access_key, usage }).collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.usage.requests));
    Ok(keys)
}

/// Forgets what is older than is remembered, at most `limit` rows of each kind at a time.
pub(super) async fn forget(pool: &PgPool, now_ms: u64, limit: u32) -> sqlx::Result<u64> {
    let before = int((now_ms / HOUR_MS).saturating_sub(USAGE_KEPT_HOURS));
    let mut rows = 0;
    for sql in [
        "DELETE FROM usage_hours WHERE (hour, access_key, shard) IN (
             SELECT hour, access_key, shard FROM usage_hours WHERE hour < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        "DELETE FROM render_hours WHERE (hour, access_key, class_ms, shard) IN (
             SELECT hour, access_key, class_ms, shard FROM render_hours WHERE hour < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ] {
        rows += sqlx::query(sql).bind(before).bind(int(limit)).execute(pool).await?.rows_affected();
    }
    Ok(rows)
}

pub(super) async fn holdings(pool: &PgPool) -> sqlx::Result<Holdings> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(sum(queued), 0) FROM queue_sizes)::bigint AS queued,
                (SELECT created_ms FROM requests WHERE id = (SELECT min(id) FROM requests WHERE state = 'queued'))
                    AS oldest_queued_ms,
                (SELECT count(*) FROM requests WHERE state = 'rendering') AS rendering,
                (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 'pending' LIMIT $1) counted) AS waiting,
                (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE state = 'dead' LIMIT $1) counted) AS dead,
                (SELECT min(due_ms) FROM deliveries WHERE state = 'pending') AS oldest_due_ms,
                (SELECT coalesce(sum(files), 0) FROM holdings)::bigint AS files,
                (SELECT coalesce(sum(bytes), 0) FROM holdings)::bigint AS file_bytes,
                pg_database_size(current_database()) AS database_bytes",
    )
    .bind(int(COUNT_MAX))
    .fetch_one(pool)
    .await?;
    Ok(Holdings {
        queued: row.number("queued")?,
        oldest_queued_ms: row.number_if_any("oldest_queued_ms")?,
        rendering: row.number("rendering")?,
        deliveries_waiting: row.number("waiting")?,
        deliveries_dead: row.number("dead")?,
        oldest_due_ms: row.number_if_any("oldest_due_ms")?,
        files: row.number("files")?,
        file_bytes: row.number("file_bytes")?,
        database_bytes: row.number("database_bytes")?,
    })
}

pub(super) async fn kept(pool: &PgPool, counted: u64, expiring: u32) -> sqlx::Result<Kept> {
    let rows = sqlx::query(
        "SELECT r.access_key, count(*) AS files, sum(f.bytes)::bigint AS bytes
         FROM (SELECT request_id, bytes FROM files WHERE NOT removed ORDER BY expires_ms DESC LIMIT $1) f
         JOIN requests r ON r.id = f.request_id
         GROUP BY r.access_key ORDER BY bytes DESC, r.access_key",
    )
    .bind(int(counted))
    .fetch_all(pool)
    .await?;
    let key = |row: &PgRow| {
        Ok(KeyHoldings {
            access_key: row.try_get("access_key")?,
            files: row.number("files")?,
            bytes: row.number("bytes")?,
        })
    };
    let by_key = rows.iter().map(key).collect::<sqlx::Result<_>>()?;
    let rows =
        sqlx::query("SELECT request_id, bytes, expires_ms FROM files WHERE NOT removed ORDER BY expires_ms LIMIT $1")
            .bind(int(expiring))
            .fetch_all(pool)
            .await?;
    let file = |row: &PgRow| {
        Ok(ExpiringFile {
            request_id: row.try_get("request_id")?,
            bytes: row.number("bytes")?,
            expires_ms: row.number("expires_ms")?,
        })
    };
    Ok(Kept { by_key, expiring: rows.iter().map(file).collect::<sqlx::Result<_>>()? })
}

/// How much there is still to do: for metrics, read in one look at the counters and indexes.
pub(super) async fn backlog(pool: &PgPool, now_ms: u64, waiting: &HashMap<String, u64>) -> sqlx::Result<Backlog> {
    let row = sqlx::query(
        "SELECT (SELECT coalesce(sum(queued), 0) FROM queue_sizes)::bigint AS queued,
                (SELECT count(*) FROM requests WHERE state = 'rendering') AS rendering,
                (SELECT created_ms FROM requests WHERE id = (SELECT min(id) FROM requests WHERE state = 'queued'))
                    AS oldest_queued_ms,
                ready_since($1, $2, $3::jsonb) AS ready_since_ms,
                (SELECT count(*) FROM deliveries WHERE state = 'pending')
                    + (SELECT count(*) FROM deliveries WHERE state = 'sending') AS webhooks_open",
    )
    .bind(int(now_ms))
    .bind(int(Urgency::LAST.level()))
    .bind(serde_json::to_string(waiting).map_err(not_json)?)
    .fetch_one(pool)
    .await?;
    Ok(Backlog {
        queued: row.number("queued")?,
        rendering: row.number("rendering")?,
        oldest_queued_ms: row.number_if_any("oldest_queued_ms")?,
        ready_since_ms: row.number_if_any("ready_since_ms")?,
        webhooks_open: row.number("webhooks_open")?,
    })
}
