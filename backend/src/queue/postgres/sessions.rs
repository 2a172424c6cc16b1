//! SQL over `admin` and `sessions`: who may see the dashboard.

use async_trait::async_trait;
use sqlx::PgConnection;

use super::PostgresQueue;
use super::database::{Numbers, failed, int, transaction};
use crate::domain::admin::{AdminStore, NewSession, SESSIONS_MAX, Session};
use crate::domain::ports::QueueError;

#[async_trait]
impl AdminStore for PostgresQueue {
    async fn password_hash(&self) -> Result<Option<String>, QueueError> {
        let hash = sqlx::query_scalar("SELECT password_hash FROM admin").fetch_optional(&self.database.pool);
        self.database.ask(hash).await
    }

    async fn set_first_password(&self, hash: &str, now_ms: u64) -> Result<bool, QueueError> {
        let set = sqlx::query(
            "INSERT INTO admin (id, password_hash, changed_ms) VALUES (1, $1, $2) ON CONFLICT (id) DO NOTHING",
        )
        .bind(hash)
        .bind(int(now_ms))
        .execute(&self.database.pool);
        self.database.ask(set).await.map(|done| done.rows_affected() == 1)
    }

    async fn reset_password(&self, hash: &str, now_ms: u64) -> Result<(), QueueError> {
        transaction!(self.database, connection => reset(connection, hash, now_ms))
    }

    async fn begin_session(&self, session: NewSession) -> Result<bool, QueueError> {
        transaction!(self.database, connection => begin(connection, &session))
    }

    async fn session(&self, token_hash: &str, now_ms: u64) -> Result<Option<Session>, QueueError> {
        let row = sqlx::query(
            "SELECT idle_until_ms, ends_ms FROM sessions
             WHERE token_hash = $1 AND idle_until_ms > $2 AND ends_ms > $2",
        )
        .bind(token_hash)
        .bind(int(now_ms))
        .fetch_optional(&self.database.pool);
        let row = self.database.ask(row).await?;
        let session = |row: sqlx::postgres::PgRow| {
            Ok(Session { idle_until_ms: row.number("idle_until_ms")?, ends_ms: row.number("ends_ms")? })
        };
        row.map(session).transpose().map_err(failed)
    }

    async fn extend_session(&self, token_hash: &str, idle_until_ms: u64) -> Result<(), QueueError> {
        let extended =
            sqlx::query("UPDATE sessions SET idle_until_ms = greatest(idle_until_ms, $2) WHERE token_hash = $1")
                .bind(token_hash)
                .bind(int(idle_until_ms))
                .execute(&self.database.pool);
        self.database.ask(extended).await.map(|_| ())
    }

    async fn end_session(&self, token_hash: &str) -> Result<(), QueueError> {
        let ended = sqlx::query("DELETE FROM sessions WHERE token_hash = $1").bind(token_hash);
        self.database.ask(ended.execute(&self.database.pool)).await.map(|_| ())
    }
}

async fn reset(connection: &mut PgConnection, hash: &str, now_ms: u64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO admin (id, password_hash, changed_ms) VALUES (1, $1, $2)
         ON CONFLICT (id) DO UPDATE SET password_hash = $1, changed_ms = $2",
    )
    .bind(hash)
    .bind(int(now_ms))
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM sessions").execute(connection).await.map(|_| ())
}

async fn begin(connection: &mut PgConnection, session: &NewSession) -> sqlx::Result<bool> {
    // Held until the commit: a password that is replaced meanwhile ends this session too.
    let password: Option<String> =
        sqlx::query_scalar("SELECT password_hash FROM admin FOR UPDATE").fetch_optional(&mut *connection).await?;
    if password.as_ref() != Some(&session.password_hash) {
        return Ok(false);
    }
    sqlx::query("DELETE FROM sessions WHERE least(idle_until_ms, ends_ms) <= $1")
        .bind(int(session.now_ms))
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "DELETE FROM sessions WHERE token_hash NOT IN (
             SELECT token_hash FROM sessions ORDER BY created_ms DESC LIMIT $1)",
    )
    .bind(int(SESSIONS_MAX - 1))
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO sessions (token_hash, created_ms, idle_until_ms, ends_ms) VALUES ($1, $2, $3, $4)")
        .bind(&session.token_hash)
        .bind(int(session.now_ms))
        .bind(int(session.idle_until_ms))
        .bind(int(session.ends_ms))
        .execute(connection)
        .await
        .map(|_| true)
}
