//! SQL over `keys`. Secrets go in and come out sealed.

use rusqlite::{Connection, OptionalExtension, params};
use snaphook_shared::key::KeyLimits;

use crate::domain::operator::Rotation;
use crate::queue::key_row::{KeyRow, PREVIOUS_MAX};

const COLUMNS: &str =
    "access_key, name, secret, require_signed, created_ms, revoked_ms, monthly_quota, requests_per_minute, concurrency";

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        access_key: row.get(0)?,
        name: row.get(1)?,
        secret: row.get(2)?,
        previous_secrets: Vec::new(),
        require_signed: row.get(3)?,
        created_ms: row.get(4)?,
        revoked_ms: row.get(5)?,
        limits: KeyLimits { monthly_quota: row.get(6)?, requests_per_minute: row.get(7)?, concurrency: row.get(8)? },
    })
}

pub(super) fn get(connection: &Connection, access_key: &str) -> rusqlite::Result<Option<KeyRow>> {
    let sql = format!("SELECT {COLUMNS} FROM keys WHERE access_key = ?");
    let found = connection.prepare_cached(&sql)?.query_row([access_key], row).optional()?;
    found.map(|row| with_previous(connection, row)).transpose()
}

fn with_previous(connection: &Connection, row: KeyRow) -> rusqlite::Result<KeyRow> {
    let previous_secrets = connection
        .prepare_cached("SELECT secret, until_ms FROM previous_secrets WHERE access_key = ? ORDER BY number DESC")?
        .query_map([&row.access_key], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(KeyRow { previous_secrets, ..row })
}

pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<KeyRow>> {
    let sql = format!("SELECT {COLUMNS} FROM keys ORDER BY created_ms, access_key");
    let rows = connection.prepare_cached(&sql)?.query_map([], row)?.collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(|row| with_previous(connection, row)).collect()
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

/// The secret of before stays good until `until_ms`, and no older one for longer.
pub(super) fn rotate(
    connection: &Connection,
    access_key: &str,
    secret: &[u8],
    until_ms: u64,
    now_ms: u64,
) -> rusqlite::Result<Rotation> {
    connection
        .prepare_cached("DELETE FROM previous_secrets WHERE access_key = ? AND until_ms <= ?")?
        .execute(params![access_key, now_ms])?;
    connection
        .prepare_cached("UPDATE previous_secrets SET until_ms = min(until_ms, ?2) WHERE access_key = ?1")?
        .execute(params![access_key, until_ms])?;
    let good: u64 = connection
        .prepare_cached("SELECT count(*) FROM previous_secrets WHERE access_key = ? AND until_ms > ?")?
        .query_row(params![access_key, now_ms], |row| row.get(0))?;
    if good >= PREVIOUS_MAX {
        return Ok(Rotation::TooMany);
    }
    connection
        .prepare_cached(
            "INSERT INTO previous_secrets (access_key, number, secret, until_ms)
             SELECT access_key, (SELECT coalesce(max(number), 0) + 1 FROM previous_secrets WHERE access_key = ?1), secret, ?2
             FROM keys WHERE access_key = ?1 AND revoked_ms IS NULL",
        )?
        .execute(params![access_key, until_ms])?;
    let rotated = connection
        .prepare_cached("UPDATE keys SET secret = ?2 WHERE access_key = ?1 AND revoked_ms IS NULL")?
        .execute(params![access_key, secret])?;
    Ok(if rotated == 1 { Rotation::Done } else { Rotation::Unknown })
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

/// False if there is no such live key.
pub(super) fn require_signed(connection: &Connection, access_key: &str, required: bool) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("UPDATE keys SET require_signed = ?2 WHERE access_key = ?1 AND revoked_ms IS NULL")?
        .execute(params![access_key, required])
        .map(|rows| rows == 1)
}
