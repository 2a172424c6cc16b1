//! SQL over `admin` and `sessions`: who may see the dashboard.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::SqliteQueue;
use crate::domain::admin::{AdminStore, NewSession, Session};
use crate::domain::ports::QueueError;

/// Sessions that may be open at once. One more ends the oldest: an operator has no use for so many.
const SESSIONS_MAX: u32 = 100;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::secrets::RootKey;

    fn session(token: u32, password: &str, now_ms: u64) -> NewSession {
        NewSession {
            token_hash: format!("{token}"),
            password_hash: password.to_owned(),
            now_ms,
            idle_until_ms: now_ms + 100,
            ends_ms: now_ms + 1_000,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sessions_end_by_their_times_by_hand_and_with_their_password() {
        let folder = tempfile::tempdir().unwrap();
        let root_key = RootKey::load("", folder.path()).unwrap();
        let store = SqliteQueue::open(&folder.path().join("test.db"), root_key, 1).unwrap();
        assert_eq!(store.password_hash().await.unwrap(), None);
        assert!(!store.begin_session(session(0, "", 0)).await.unwrap(), "there is no password yet");
        assert!(store.set_first_password("one", 1).await.unwrap());
        assert!(!store.set_first_password("two", 1).await.unwrap());
        assert!(!store.begin_session(session(1, "two", 0)).await.unwrap());
        for token in [1, 2, 3] {
            assert!(store.begin_session(session(token, "one", 0)).await.unwrap());
        }
        let is_open = async |token: &str, now_ms| store.session(token, now_ms).await.unwrap().is_some();
        assert!(is_open("1", 99).await && !is_open("1", 100).await && !is_open("9", 0).await);
        store.extend_session("1", 5_000).await.unwrap();
        assert!(is_open("1", 999).await && !is_open("1", 1_000).await, "its end stands");
        store.end_session("2").await.unwrap();
        assert!(!is_open("2", 0).await && is_open("3", 0).await);
        store.reset_password("three", 2).await.unwrap();
        assert!(!is_open("1", 0).await && !is_open("3", 0).await);
        assert!(
            !store.begin_session(session(4, "one", 3)).await.unwrap(),
            "checked against what was replaced meanwhile"
        );
        for token in 10..10 + SESSIONS_MAX + 5 {
            assert!(store.begin_session(session(token, "three", u64::from(token))).await.unwrap());
        }
        assert!(!is_open("14", 20).await && is_open("15", 20).await, "the oldest make room");
    }
}
