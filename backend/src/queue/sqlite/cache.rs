//! SQL over `cache`: answers that may be given again.

use rusqlite::{Connection, OptionalExtension, params};

use super::requests::not_json;
use crate::domain::ports::CachedAnswer;

pub(super) fn get(connection: &Connection, key: &str, now_ms: u64) -> rusqlite::Result<Option<CachedAnswer>> {
    connection
        .prepare_cached("SELECT file, headers, body, expires_ms FROM cache WHERE key = ? AND expires_ms > ?")?
        .query_row(params![key, now_ms], |row| {
            let headers: String = row.get(1)?;
            Ok(CachedAnswer {
                file: row.get(0)?,
                headers: serde_json::from_str(&headers).map_err(not_json)?,
                body: row.get(2)?,
                expires_ms: row.get(3)?,
            })
        })
        .optional()
}

pub(super) fn put(connection: &Connection, key: &str, answer: &CachedAnswer) -> rusqlite::Result<()> {
    let headers = serde_json::to_string(&answer.headers).map_err(not_json)?;
    connection
        .prepare_cached(
            "INSERT INTO cache (key, file, headers, body, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (key) DO UPDATE SET file = ?2, headers = ?3, body = ?4, expires_ms = ?5",
        )?
        .execute(params![key, answer.file, headers, answer.body, answer.expires_ms])
        .map(|_| ())
}

pub(super) fn forget(connection: &Connection, now_ms: u64, limit: u32) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("DELETE FROM cache WHERE key IN (SELECT key FROM cache WHERE expires_ms <= ? LIMIT ?)")?
        .execute(params![now_ms, limit])
        .map(|rows| rows as u64)
}
