//! SQL over `keys`. Secrets go in and come out sealed.

use snaphook_shared::key::KeyLimits;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::database::{Numbers, int, text};
use crate::domain::operator::Rotation;
use crate::queue::key_row::{KeyRow, PREVIOUS_MAX};

fn row(row: &PgRow, previous: &[PgRow]) -> sqlx::Result<KeyRow> {
    let access_key: String = row.try_get("access_key")?;
    let mut previous_secrets = Vec::new();
    for previous in previous {
        if previous.try_get::<&str, _>("access_key")? == access_key {
            previous_secrets.push((previous.try_get("secret")?, previous.number("until_ms")?));
        }
    }
    Ok(KeyRow {
        access_key,
        name: row.try_get("name")?,
        secret: row.try_get("secret")?,
        previous_secrets,
        require_signed: row.try_get("require_signed")?,
        limits: KeyLimits {
            monthly_quota: row.number_if_any("monthly_quota")?,
            requests_per_minute: row.number_if_any("requests_per_minute")?,
            concurrency: row.number_if_any("concurrency")?,
        },
        created_ms: row.number("created_ms")?,
        revoked_ms: row.number_if_any("revoked_ms")?,
    })
}

pub(super) async fn get(pool: &PgPool, access_key: &str) -> sqlx::Result<Option<KeyRow>> {
    let found = sqlx::query(
        "SELECT access_key, name, secret, require_signed, monthly_quota, requests_per_minute, concurrency, created_ms, revoked_ms
         FROM keys WHERE access_key = $1",
    );
    let Some(found) = found.bind(access_key).fetch_optional(pool).await? else { return Ok(None) };
    let previous = sqlx::query(
        "SELECT access_key, secret, until_ms FROM previous_secrets WHERE access_key = $1 ORDER BY number DESC",
    )
    .bind(access_key)
    .fetch_all(pool)
    .await?;
    row(&found, &previous).map(Some)
}

pub(super) async fn list(pool: &PgPool) -> sqlx::Result<Vec<KeyRow>> {
    let rows = sqlx::query(
        "SELECT access_key, name, secret, require_signed, monthly_quota, requests_per_minute, concurrency, created_ms, revoked_ms
         FROM keys ORDER BY created_ms, access_key",
    )
    .fetch_all(pool)
    .await?;
    let previous = sqlx::query("SELECT access_key, secret, until_ms FROM previous_secrets ORDER BY number DESC")
        .fetch_all(pool)
        .await?;
    rows.iter().map(|key| row(key, &previous)).collect()
}

/// False if there is such a key already.
pub(super) async fn insert(pool: &PgPool, key: &KeyRow) -> sqlx::Result<bool> {
    sqlx::query(
        "INSERT INTO keys (access_key, name, secret, require_signed, created_ms, monthly_quota, requests_per_minute, concurrency)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (access_key) DO NOTHING",
    )
    .bind(&key.access_key)
    .bind(text(&key.name))
    .bind(&key.secret)
    .bind(key.require_signed)
    .bind(int(key.created_ms))
    .bind(key.limits.monthly_quota.map(int))
    .bind(key.limits.requests_per_minute.map(int))
    .bind(key.limits.concurrency.map(int))
    .execute(pool)
    .await
    .map(|done| done.rows_affected() == 1)
}

/// The secret of before stays good until `until_ms`, and no older one for longer.
pub(super) async fn rotate(
    connection: &mut PgConnection,
    access_key: &str,
    secret: &[u8],
    until_ms: u64,
    now_ms: u64,
) -> sqlx::Result<Rotation> {
    let before: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT secret FROM keys WHERE access_key = $1 AND revoked_ms IS NULL FOR UPDATE")
            .bind(access_key)
            .fetch_optional(&mut *connection)
            .await?;
    let Some(before) = before else { return Ok(Rotation::Unknown) };
    sqlx::query("DELETE FROM previous_secrets WHERE access_key = $1 AND until_ms <= $2")
        .bind(access_key)
        .bind(int(now_ms))
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE previous_secrets SET until_ms = least(until_ms, $2) WHERE access_key = $1")
        .bind(access_key)
        .bind(int(until_ms))
        .execute(&mut *connection)
        .await?;
    let good: i64 = sqlx::query_scalar("SELECT count(*) FROM previous_secrets WHERE access_key = $1 AND until_ms > $2")
        .bind(access_key)
        .bind(int(now_ms))
        .fetch_one(&mut *connection)
        .await?;
    if good >= int(PREVIOUS_MAX) {
        return Ok(Rotation::TooMany);
    }
    sqlx::query(
        "INSERT INTO previous_secrets (access_key, number, secret, until_ms)
         SELECT $1, coalesce(max(number), 0) + 1, $2, $3 FROM previous_secrets WHERE access_key = $1",
    )
    .bind(access_key)
    .bind(before)
    .bind(int(until_ms))
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE keys SET secret = $2 WHERE access_key = $1")
        .bind(access_key)
        .bind(secret)
        .execute(connection)
        .await?;
    Ok(Rotation::Done)
}

/// False if there is no such live key, here and below.
pub(super) async fn revoke(pool: &PgPool, access_key: &str, now_ms: u64) -> sqlx::Result<bool> {
    sqlx::query("UPDATE keys SET revoked_ms = $2 WHERE access_key = $1 AND revoked_ms IS NULL")
        .bind(access_key)
        .bind(int(now_ms))
        .execute(pool)
        .await
        .map(|done| done.rows_affected() == 1)
}

pub(super) async fn set_limits(pool: &PgPool, access_key: &str, limits: KeyLimits) -> sqlx::Result<bool> {
    sqlx::query(
        "UPDATE keys SET monthly_quota = $2, requests_per_minute = $3, concurrency = $4
         WHERE access_key = $1 AND revoked_ms IS NULL",
    )
    .bind(access_key)
    .bind(limits.monthly_quota.map(int))
    .bind(limits.requests_per_minute.map(int))
    .bind(limits.concurrency.map(int))
    .execute(pool)
    .await
    .map(|done| done.rows_affected() == 1)
}

pub(super) async fn require_signed(pool: &PgPool, access_key: &str, required: bool) -> sqlx::Result<bool> {
    sqlx::query("UPDATE keys SET require_signed = $2 WHERE access_key = $1 AND revoked_ms IS NULL")
        .bind(access_key)
        .bind(required)
        .execute(pool)
        .await
        .map(|done| done.rows_affected() == 1)
}
