//! SQL over what keys have used. Accepted requests are counted by the triggers of the schema, and so are the ends of all;
//! here are the beginnings of those that a caller waits for.

use snaphook_shared::key::KeyLimits;
use sqlx::{PgConnection, Row};

use super::database::{Lock, Numbers, int, lock};
use crate::domain::limits::{self, UnderWay, Usage};
use crate::domain::ports::Admission;

/// What a key has used, but for the callers who wait in some process. A key that is not there has no limits.
pub(super) async fn get(connection: &mut PgConnection, access_key: &str, now_ms: u64) -> sqlx::Result<Usage> {
    let found = sqlx::query(
        "SELECT k.monthly_quota, k.requests_per_minute, k.concurrency,
                coalesce((SELECT sum(rendered) FROM key_months WHERE access_key = $1 AND month = $2), 0)::bigint
                    AS rendered,
                coalesce((SELECT sum(unfinished) FROM key_counters WHERE access_key = $1), 0)::bigint AS unfinished,
                coalesce((SELECT sum(started) FROM key_counters WHERE access_key = $1 AND minute IN ($3, $3 + 1)),
                         0)::bigint AS started
         FROM keys k WHERE k.access_key = $1",
    )
    .bind(access_key)
    .bind(i64::from(limits::month(now_ms)))
    .bind(int(limits::minute(now_ms)))
    .fetch_optional(connection)
    .await?;
    let Some(row) = found else { return Ok(Usage::default()) };
    Ok(Usage {
        limits: KeyLimits {
            monthly_quota: row.number_if_any("monthly_quota")?,
            requests_per_minute: row.number_if_any("requests_per_minute")?,
            concurrency: row.number_if_any("concurrency")?,
        },
        rendered: row.number("rendered")?,
        unfinished: row.number("unfinished")?,
        started: row.number("started")?,
        under_way: 0,
    })
}

/// Lets a caller in who waits. Who waits is known to the backend that they wait at, so of what others let in, only the
/// month's and the minute's limit know.
pub(super) async fn admit(
    connection: &mut PgConnection,
    access_key: &str,
    now_ms: u64,
    under_way: &UnderWay,
) -> sqlx::Result<Admission> {
    let limits = sqlx::query(
        "SELECT monthly_quota IS NOT NULL OR requests_per_minute IS NOT NULL AS counted, concurrency IS NOT NULL AS concurrent
         FROM keys WHERE access_key = $1",
    )
    .bind(access_key)
    .fetch_optional(&mut *connection)
    .await?;
    let (counted, concurrent) = match limits {
        Some(row) => (row.try_get("counted")?, row.try_get("concurrent")?),
        None => (false, false),
    };
    if counted {
        lock(connection, Lock::Usage, access_key).await?;
    }
    if concurrent {
        lock(connection, Lock::UnderWay, access_key).await?;
    }
    if counted || concurrent {
        let waiting = under_way.count(access_key);
        let mut usage = get(connection, access_key, now_ms).await?;
        usage.unfinished += waiting;
        usage.under_way = rendering(connection, access_key).await? + waiting;
        if let Err(limited) = usage.check(true, now_ms) {
            return Ok(Admission::Limited(limited));
        }
    }
    start(connection, access_key, now_ms).await?;
    Ok(Admission::Admitted(under_way.enter(access_key)))
}

/// Counts a request that starts now. Clocks that differ by a second are in two minutes for as long: whoever is behind counts in
/// that of the other. One that was far ahead is not believed, or the key would have to wait for it.
async fn start(connection: &mut PgConnection, access_key: &str, now_ms: u64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO key_counters AS c (access_key, shard, minute, started) VALUES ($1, shard(), $2, 1)
         ON CONFLICT (access_key, shard) DO UPDATE
         SET started = CASE WHEN c.minute IN ($2, $2 + 1) THEN c.started ELSE 0 END + 1,
             minute = CASE c.minute WHEN $2 + 1 THEN c.minute ELSE $2 END",
    )
    .bind(access_key)
    .bind(int(limits::minute(now_ms)))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Takes back what the schema has counted in this transaction of a request that had been let in before.
pub(super) async fn take_back(connection: &mut PgConnection, access_key: &str, now_ms: u64) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE key_counters SET started = started - 1
         WHERE access_key = $1 AND shard = shard() AND minute IN ($2, $2 + 1)",
    )
    .bind(access_key)
    .bind(int(limits::minute(now_ms)))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Whether a key has more renders under way than it may, with so many callers who wait.
pub(super) async fn is_over(connection: &mut PgConnection, access_key: &str, callers: u64) -> sqlx::Result<bool> {
    let over: Option<bool> = sqlx::query_scalar(
        "SELECT concurrency < $2 + (SELECT count(*) FROM requests WHERE state = 'rendering' AND access_key = $1)
         FROM keys WHERE access_key = $1 AND concurrency IS NOT NULL",
    )
    .bind(access_key)
    .bind(int(callers))
    .fetch_optional(connection)
    .await?;
    Ok(over.unwrap_or_default())
}

/// Requests of a key that workers hold, of whatever backend. There are never more than there are workers, so counting them
/// is cheap.
pub(super) async fn rendering(connection: &mut PgConnection, access_key: &str) -> sqlx::Result<u64> {
    let row = sqlx::query("SELECT count(*) AS rendering FROM requests WHERE state = 'rendering' AND access_key = $1")
        .bind(access_key)
        .fetch_one(connection)
        .await?;
    row.number("rendering")
}
