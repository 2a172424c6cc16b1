//! SQL over `cache`: answers that may be given again.

use sqlx::{PgPool, Row};

use super::database::{Numbers, int, not_json};
use crate::domain::ports::CachedAnswer;

pub(super) async fn get(pool: &PgPool, key: &str, now_ms: u64) -> sqlx::Result<Option<CachedAnswer>> {
    let found = sqlx::query("SELECT file, headers, body, expires_ms FROM cache WHERE key = $1 AND expires_ms > $2")
        .bind(key)
        .bind(int(now_ms))
        .fetch_optional(pool)
        .await?;
    let answer = |row: sqlx::postgres::PgRow| {
        Ok(CachedAnswer {
            file: row.try_get("file")?,
            headers: serde_json::from_str(row.try_get("headers")?).map_err(not_json)?,
            body: row.try_get("body")?,
            expires_ms: row.number("expires_ms")?,
        })
    };
    found.map(answer).transpose()
}

pub(super) async fn put(pool: &PgPool, key: &str, answer: &CachedAnswer) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO cache (key, file, headers, body, expires_ms) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (key) DO UPDATE SET file = $2, headers = $3, body = $4, expires_ms = $5",
    )
    .bind(key)
    .bind(&answer.file)
    .bind(serde_json::to_string(&answer.headers).map_err(not_json)?)
    .bind(&answer.body)
    .bind(int(answer.expires_ms))
    .execute(pool)
    .await
    .map(|_| ())
}

pub(super) async fn forget(pool: &PgPool, now_ms: u64, limit: u32) -> sqlx::Result<u64> {
    sqlx::query(
        "DELETE FROM cache WHERE key IN (
             SELECT key FROM cache WHERE expires_ms <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(int(now_ms))
    .bind(int(limit))
    .execute(pool)
    .await
    .map(|done| done.rows_affected())
}
