//! SQL over `endpoints` and `receivers`: who fails, since when, and who is sent nothing more.
//!
//! A receiver is a host and port, shared by all keys: one that fails gets fewer attempts at a time. An endpoint is an address
//! of one key: one that fails for days is disabled, and the key's other addresses are not.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row};

use super::database::{Numbers, int, text};
use crate::domain::delivery::{DISABLED, DeliveryAttempt, EndpointView, Standing};
use crate::domain::retry::ENDPOINT_PATIENCE;

/// Whose delivery it is.
pub(super) struct Destination {
    pub(super) access_key: String,
    pub(super) receiver: String,
    pub(super) endpoint: String,
}

/// One success, and what was before is forgotten; a disabled endpoint that was tried all the same is enabled.
pub(super) async fn succeeded(connection: &mut PgConnection, to: &Destination) -> sqlx::Result<()> {
    // The endpoint after the receiver, as where a failure is counted: what is not read of a WITH is done at the end.
    sqlx::query(
        "WITH endpoint AS (DELETE FROM endpoints WHERE access_key = $2 AND md5(url) = md5($3))
         DELETE FROM receivers WHERE receiver = $1",
    )
    .bind(&to.receiver)
    .bind(&to.access_key)
    .bind(&to.endpoint)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Counts a failure; `gone` if the receiver asks for nothing more.
pub(super) async fn failed(
    connection: &mut PgConnection,
    to: &Destination,
    attempt: &DeliveryAttempt,
    gone: bool,
) -> sqlx::Result<Standing> {
    // All that fail at one receiver come by here first, one after the other, so what is read below holds.
    sqlx::query(
        "INSERT INTO receivers AS r (receiver, failures, last_failure_ms) VALUES ($1, 1, $2)
         ON CONFLICT (receiver) DO UPDATE SET failures = r.failures + 1, last_failure_ms = $2",
    )
    .bind(&to.receiver)
    .bind(int(attempt.at_ms))
    .execute(&mut *connection)
    .await?;
    let before = is_disabled(&mut *connection, &to.access_key, &to.endpoint).await?;
    let disabled: bool = sqlx::query_scalar(
        "INSERT INTO endpoints AS e (access_key, url, failures, failing_since_ms, last_failure_ms, last_error, disabled_ms)
         VALUES ($1, $2, 1, $3, $3, $4, CASE WHEN $5 THEN $3 END)
         ON CONFLICT (access_key, md5(url)) DO UPDATE
         SET failures = e.failures + 1, last_failure_ms = $3, last_error = $4,
             disabled_ms = coalesce(e.disabled_ms, CASE WHEN $5 OR $3 - e.failing_since_ms >= $6 THEN $3 END)
         RETURNING disabled_ms IS NOT NULL",
    )
    .bind(&to.access_key)
    .bind(&to.endpoint)
    .bind(int(attempt.at_ms))
    .bind(text(&attempt.failure()))
    .bind(gone)
    .bind(int(ENDPOINT_PATIENCE.as_millis()))
    .fetch_one(connection)
    .await?;
    Ok(Standing::of(before, disabled))
}

/// What waits for an endpoint is dead, at most `limit` at a time, if it is still disabled. Gives their number.
pub(super) async fn end_waiting(
    connection: &mut PgConnection,
    to: &Destination,
    now_ms: u64,
    limit: u32,
) -> sqlx::Result<u64> {
    if !is_disabled(&mut *connection, &to.access_key, &to.endpoint).await? {
        return Ok(0);
    }
    sqlx::query(
        "UPDATE deliveries SET state = 'dead', finished_ms = $4, end_reason = $5
         WHERE id IN (SELECT id FROM deliveries
                      WHERE state = 'pending' AND receiver = $1 AND access_key = $2 AND endpoint = $3
                      LIMIT $6 FOR UPDATE SKIP LOCKED)",
    )
    .bind(&to.receiver)
    .bind(&to.access_key)
    .bind(&to.endpoint)
    .bind(int(now_ms))
    .bind(DISABLED)
    .bind(int(limit))
    .execute(connection)
    .await
    .map(|done| done.rows_affected())
}

pub(super) async fn is_disabled(executor: impl PgExecutor<'_>, access_key: &str, url: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM endpoints WHERE access_key = $1 AND md5(url) = md5($2) AND disabled_ms IS NOT NULL)",
    )
    .bind(access_key)
    .bind(url)
    .fetch_one(executor)
    .await
}

/// False if it was not disabled.
pub(super) async fn enable_disabled(pool: &PgPool, access_key: &str, url: &str) -> sqlx::Result<bool> {
    sqlx::query("DELETE FROM endpoints WHERE access_key = $1 AND md5(url) = md5($2) AND disabled_ms IS NOT NULL")
        .bind(access_key)
        .bind(url)
        .execute(pool)
        .await
        .map(|done| done.rows_affected() == 1)
}

fn view(row: &PgRow) -> sqlx::Result<EndpointView> {
    Ok(EndpointView {
        access_key: row.try_get("access_key")?,
        url: row.try_get("url")?,
        failures: row.number("failures")?,
        failing_since_ms: row.number("failing_since_ms")?,
        last_failure_ms: row.number("last_failure_ms")?,
        last_error: row.try_get("last_error")?,
        disabled_ms: row.number_if_any("disabled_ms")?,
    })
}

/// Disabled ones first.
pub(super) async fn list(pool: &PgPool, access_key: Option<&str>, limit: u32) -> sqlx::Result<Vec<EndpointView>> {
    let rows = sqlx::query(
        "SELECT access_key, url, failures, failing_since_ms, last_failure_ms, last_error, disabled_ms
         FROM endpoints WHERE $1::text IS NULL OR access_key = $1
         ORDER BY disabled_ms IS NULL, last_failure_ms DESC LIMIT $2",
    )
    .bind(access_key)
    .bind(int(limit))
    .fetch_all(pool)
    .await?;
    rows.iter().map(view).collect()
}

/// Failures that were followed by nothing at all: addresses made for one request, hosts that nobody uses any more.
pub(super) async fn forget(pool: &PgPool, before_ms: u64, limit: u32) -> sqlx::Result<u64> {
    let mut rows = 0;
    for sql in [
        "DELETE FROM endpoints WHERE (access_key, md5(url)) IN (
             SELECT access_key, md5(url) FROM endpoints WHERE disabled_ms IS NULL AND last_failure_ms < $1
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
        "DELETE FROM receivers WHERE receiver IN (
             SELECT receiver FROM receivers WHERE last_failure_ms < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    ] {
        rows += sqlx::query(sql).bind(int(before_ms)).bind(int(limit)).execute(pool).await?.rows_affected();
    }
    Ok(rows)
}
