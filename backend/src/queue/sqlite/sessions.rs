//! SQL over `admin` and `sessions`: who may see the dashboard.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteQueue;
use crate::domain::admin::{AdminStore, NewSession, SESSIONS_MAX, Session};
use crate::domain::ports::QueueError;

#[async_trait]
impl AdminStore for SqliteQueue {
    async fn password_hash(&self) -> Result<Option<String>, QueueError> {
        self.database.read(password_hash).await
    }

    async fn set_first_password(&self, hash: &str, now_ms: u64) -> Result<bool, QueueError> {
        let hash = hash.to_owned();
        let work = move |connection: &Connection| {
            connection
                .execute(
                    "INSERT INTO admin (id, password_hash, changed_ms) VALUES (1, ?, ?) ON CONFLICT (id) DO NOTHING",
                    params![hash, now_ms],
                )
                .map(|rows| rows == 1)
        };
        self.database.write(work).await
    }

    async fn reset_password(&self, hash: &str, now_ms: u64) -> Result<(), QueueError> {
        let hash = hash.to_owned();
        let work = move |connection: &Connection| {
            connection.execute(
                "INSERT OR REPLACE INTO admin (id, password_hash, changed_ms) VALUES (1, ?, ?)",
                params![hash, now_ms],
            )?;
            connection.execute("DELETE FROM sessions", []).map(|_| ())
        };
        self.database.write(work).await
    }

    async fn begin_session(&self, session: NewSession) -> Result<bool, QueueError> {
        self.database.write(move |connection| begin(connection, &session)).await
    }

    async fn session(&self, token_hash: &str, now_ms: u64) -> Result<Option<Session>, QueueError> {
        let token_hash = token_hash.to_owned();
        self.database.read(move |connection| get(connection, &token_hash, now_ms)).await
    }

    async fn extend_session(&self, token_hash: &str, idle_until_ms: u64) -> Result<(), QueueError> {
        let token_hash = token_hash.to_owned();
        let work = move |connection: &Connection| {
            connection
                .prepare_cached("UPDATE sessions SET idle_until_ms = max(idle_until_ms, ?2) WHERE token_hash = ?1")?
                .execute(params![token_hash, idle_until_ms])
                .map(|_| ())
        };
        self.database.write(work).await
    }

    async fn end_session(&self, token_hash: &str) -> Result<(), QueueError> {
        let token_hash = token_hash.to_owned();
        let work = move |connection: &Connection| {
            connection.execute("DELETE FROM sessions WHERE token_hash = ?", [token_hash]).map(|_| ())
        };
        self.database.write(work).await
    }
}

fn password_hash(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT password_hash FROM admin", [], |row| row.get(0)).optional()
}

fn begin(connection: &Connection, session: &NewSession) -> rusqlite::Result<bool> {
    if password_hash(connection)?.as_ref() != Some(&session.password_hash) {
        return Ok(false);
    }
    connection.execute("DELETE FROM sessions WHERE min(idle_until_ms, ends_ms) <= ?", [session.now_ms])?;
    connection.execute(
        "DELETE FROM sessions WHERE token_hash NOT IN (
             SELECT token_hash FROM sessions ORDER BY created_ms DESC LIMIT ?)",
        [SESSIONS_MAX - 1],
    )?;
    connection
        .execute(
            "INSERT INTO sessions (token_hash, created_ms, idle_until_ms, ends_ms) VALUES (?, ?, ?, ?)",
            params![session.token_hash, session.now_ms, session.idle_until_ms, session.ends_ms],
        )
        .map(|_| true)
}

fn get(connection: &Connection, token_hash: &str, now_ms: u64) -> rusqlite::Result<Option<Session>> {
    connection
        .prepare_cached(
            "SELECT idle_until_ms, ends_ms FROM sessions
             WHERE token_hash = ?1 AND idle_until_ms > ?2 AND ends_ms > ?2",
        )?
        .query_row(params![token_hash, now_ms], |row| Ok(Session { idle_until_ms: row.get(0)?, ends_ms: row.get(1)? }))
        .optional()
}
