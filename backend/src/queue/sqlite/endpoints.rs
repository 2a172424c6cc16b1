//! SQL over `endpoints` and `receivers`: who fails, since when, and who is sent nothing more.
//!
//! A receiver is a host and port, shared by all keys: one that fails gets fewer attempts at a time. An endpoint is an address
//! of one key: one that fails for days is disabled, and the key's other addresses are not.

use rusqlite::{Connection, Row, named_params, params};

use crate::domain::delivery::{DISABLED, DeliveryAttempt, EndpointView, Standing};
use crate::domain::retry::ENDPOINT_PATIENCE;

/// Whose delivery it is.
#[derive(Clone)]
pub(super) struct Destination {
    pub(super) access_key: String,
    pub(super) receiver: String,
    pub(super) endpoint: String,
}

/// One success, and what was before is forgotten; a disabled endpoint that was tried all the same is enabled.
pub(super) fn succeeded(connection: &Connection, to: &Destination) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM receivers WHERE receiver = ?")?.execute([&to.receiver])?;
    enable(connection, &to.access_key, &to.endpoint).map(|_| ())
}

/// Counts a failure; `gone` if the receiver asks for nothing more.
pub(super) fn failed(
    connection: &Connection,
    to: &Destination,
    attempt: &DeliveryAttempt,
    gone: bool,
) -> rusqlite::Result<Standing> {
    connection
        .prepare_cached(
            "INSERT INTO receivers (receiver, failures, last_failure_ms) VALUES (?1, 1, ?2)
             ON CONFLICT (receiver) DO UPDATE SET failures = failures + 1, last_failure_ms = ?2",
        )?
        .execute(params![to.receiver, attempt.at_ms])?;
    let before = is_disabled(connection, &to.access_key, &to.endpoint)?;
    let disabled: bool = connection
        .prepare_cached(
            "INSERT INTO endpoints (access_key, url, failures, failing_since_ms, last_failure_ms, last_error, disabled_ms)
             VALUES (:key, :url, 1, :at, :at, :error, iif(:gone, :at, NULL))
             ON CONFLICT (access_key, url) DO UPDATE
             SET failures = failures + 1, last_failure_ms = :at, last_error = :error,
                 disabled_ms = coalesce(disabled_ms, iif(:gone OR :at - failing_since_ms >= :patience, :at, NULL))
             RETURNING disabled_ms IS NOT NULL",
        )?
        .query_row(
            named_params! {
                ":key": to.access_key, ":url": to.endpoint, ":at": attempt.at_ms, ":error": attempt.failure(), ":gone": gone,
                ":patience": ENDPOINT_PATIENCE.as_millis() as u64,
            },
            |row| row.get(0),
        )?;
    Ok(Standing::of(before, disabled))
}

/// What waits for an endpoint is dead, at most `limit` at a time, if it is still disabled. Gives their number.
pub(super) fn end_waiting(connection: &Connection, to: &Destination, now_ms: u64, limit: u32) -> rusqlite::Result<u64> {
    if !is_disabled(connection, &to.access_key, &to.endpoint)? {
        return Ok(0);
    }
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'dead', finished_ms = ?4, end_reason = ?5
             WHERE id IN (SELECT id FROM deliveries
                          WHERE state = 'pending' AND receiver = ?1 AND access_key = ?2 AND endpoint = ?3 LIMIT ?6)",
        )?
        .execute(params![to.receiver, to.access_key, to.endpoint, now_ms, DISABLED, limit])
        .map(|rows| rows as u64)
}

pub(super) fn is_disabled(connection: &Connection, access_key: &str, url: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM endpoints WHERE access_key = ? AND url = ? AND disabled_ms IS NOT NULL")?
        .exists([access_key, url])
}

/// False if nothing was known against it.
pub(super) fn enable(connection: &Connection, access_key: &str, url: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("DELETE FROM endpoints WHERE access_key = ? AND url = ?")?
        .execute([access_key, url])
        .map(|rows| rows == 1)
}

fn view(row: &Row<'_>) -> rusqlite::Result<EndpointView> {
    Ok(EndpointView {
        access_key: row.get(0)?,
        url: row.get(1)?,
        failures: row.get(2)?,
        failing_since_ms: row.get(3)?,
        last_failure_ms: row.get(4)?,
        last_error: row.get(5)?,
        disabled_ms: row.get(6)?,
    })
}

/// Disabled ones first.
pub(super) fn list(
    connection: &Connection,
    access_key: Option<&str>,
    limit: u32,
) -> rusqlite::Result<Vec<EndpointView>> {
    connection
        .prepare_cached(
            "SELECT access_key, url, failures, failing_since_ms, last_failure_ms, last_error, disabled_ms FROM endpoints
             WHERE ?1 IS NULL OR access_key = ?1
             ORDER BY disabled_ms IS NULL, last_failure_ms DESC LIMIT ?2",
        )?
        .query_map(params![access_key, limit], view)?
        .collect()
}

/// Failures that were followed by nothing at all: addresses made for one request, hosts that nobody uses any more.
pub(super) fn forget(connection: &Connection, before_ms: u64, limit: u32) -> rusqlite::Result<u64> {
    let endpoints = connection
        .prepare_cached(
            "DELETE FROM endpoints WHERE (access_key, url) IN (
                 SELECT access_key, url FROM endpoints WHERE disabled_ms IS NULL AND last_failure_ms < ? LIMIT ?)",
        )?
        .execute(params![before_ms, limit])?;
    let receivers = connection
        .prepare_cached(
            "DELETE FROM receivers WHERE receiver IN (SELECT receiver FROM receivers WHERE last_failure_ms < ? LIMIT ?)",
        )?
        .execute(params![before_ms, limit])?;
    Ok((endpoints + receivers) as u64)
}
