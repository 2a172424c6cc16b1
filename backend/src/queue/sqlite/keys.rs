//! SQL over `keys`. Secrets go in and come out sealed.

use rusqlite::{Connection, OptionalExtension, params};
use snaphook_shared::key::KeyLimits;

/// A key's row, its secrets still sealed.
pub(super) struct KeyRow {
    pub(super) access_key: String,
    pub(super) name: String,
    pub(super) secret: Vec<u8>,
    pub(super) previous_secret: Option<Vec<u8>>,
    pub(super) previous_until_ms: Option<u64>,
    pub(super) require_signed: bool,
    pub(super) limits: KeyLimits,
    pub(super) created_ms: u64,
    pub(super) revoked_ms: Option<u64>,
}

const COLUMNS: &str =
    "access_key, name, secret, previous_secret, previous_until_ms, require_signed, created_ms, revoked_ms,
     monthly_quota, requests_per_minute, concurrency";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        access_key: row.get(0)?,
        name: row.get(1)?,
        secret: row.get(2)?,
        previous_secret: row.get(3)?,
        previous_until_ms: row.get(4)?,
        require_signed: row.get(5)?,
        created_ms: row.get(6)?,
        revoked_ms: row.get(7)?,
        limits: KeyLimits { monthly_quota: row.get(8)?, requests_per_minute: row.get(9)?, concurrency: row.get(10)? },
    })
}

pub(super) fn get(connection: &Connection, access_key: &str) -> rusqlite::Result<Option<KeyRow>> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE access_key = ?");
    connection.prepare_cached(&sql)?.query_row([access_key], row).optional()
}

pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<KeyRow>> {
    let sql = format!("SELECT {COLUMNS} FROM keys ORDER BY created_ms, access_key");
    connection.prepare_cached(&sql)?.query_map([], row)?.collect()
}

/// False if there is such a key already.
pub(super) fn insert(connection: &Connection, key: &KeyRow) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "INSERT INTO keys (access_key, name, secret, require_signed, created_ms, monthly_quota, requests_per_minute, concurrency)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (access_key) DO NOTHING",
        )?
        .execute(params![
            key.access_key,
            key.name,
            key.secret,
            key.require_signed,
            key.created_ms,
            key.limits.monthly_quota,
            key.limits.requests_per_minute,
            key.limits.concurrency
        ])
        .map(|rows| rows == 1)
}

pub(super) fn rotate(
    connection: &Connection,
    access_key: &str,
    secret: &[u8],
    previous_until_ms: u64,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "UPDATE keys SET previous_secret = secret, previous_until_ms = ?3, secret = ?2
             WHERE access_key = ?1 AND revoked_ms IS NULL",
        )?
        .execute(params![access_key, secret, previous_until_ms])
        .map(|rows| rows == 1)
}

pub(super) fn revoke(connection: &Connection, access_key: &str, now_ms: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("UPDATE keys SET revoked_ms = ?2 WHERE access_key = ?1 AND revoked_ms IS NULL")?
        .execute(params![access_key, now_ms])
        .map(|rows| rows == 1)
}

/// False if there is no such live key.
pub(super) fn set_limits(connection: &Connection, access_key: &str, limits: KeyLimits) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "UPDATE keys SET monthly_quota = ?2, requests_per_minute = ?3, concurrency = ?4
             WHERE access_key = ?1 AND revoked_ms IS NULL",
        )?
        .execute(params![access_key, limits.monthly_quota, limits.requests_per_minute, limits.concurrency])
        .map(|rows| rows == 1)
}
