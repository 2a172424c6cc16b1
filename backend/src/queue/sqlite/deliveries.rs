//! SQL over `deliveries` and `attempts`: the webhook outbox.

use rusqlite::{Connection, named_params, params};

use super::requests::not_json;
use crate::domain::job::{ClaimedDelivery, DeliveryAttempt, DeliveryBody, DeliveryState, NewDelivery, NextStep};

pub(super) fn insert(
    connection: &Connection,
    request_id: &str,
    access_key: &str,
    now_ms: u64,
    delivery: &NewDelivery,
) -> rusqlite::Result<()> {
    let (body, body_file) = match &delivery.body {
        DeliveryBody::Inline(bytes) => (Some(bytes), None),
        DeliveryBody::File(name) => (None, Some(name)),
    };
    connection
        .prepare_cached(
            "INSERT INTO deliveries (id, request_id, access_key, url, sign, headers, body, body_file, state, due_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)",
        )?
        .execute(params![
            delivery.id,
            request_id,
            access_key,
            delivery.url,
            delivery.sign,
            serde_json::to_string(&delivery.headers).map_err(not_json)?,
            body,
            body_file,
            now_ms
        ])
        .map(|_| ())
}

pub(super) fn claim(
    connection: &Connection,
    now_ms: u64,
    lease_until_ms: u64,
    limit: u32,
) -> rusqlite::Result<Vec<ClaimedDelivery>> {
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'sending', attempts = attempts + 1, lease_until_ms = :until
             WHERE id IN (SELECT id FROM deliveries WHERE state = 'pending' AND due_ms <= :now ORDER BY due_ms LIMIT :limit)
             RETURNING id, url, sign, headers, body, body_file, access_key, attempts",
        )?
        .query_map(named_params! { ":until": lease_until_ms, ":now": now_ms, ":limit": limit }, |row| {
            let headers: String = row.get(3)?;
            let file: Option<String> = row.get(5)?;
            Ok(ClaimedDelivery {
                delivery: NewDelivery {
                    id: row.get(0)?,
                    url: row.get(1)?,
                    sign: row.get(2)?,
                    headers: serde_json::from_str(&headers).map_err(not_json)?,
                    body: match file {
                        Some(name) => DeliveryBody::File(name),
                        None => DeliveryBody::Inline(row.get::<_, Option<Vec<u8>>>(4)?.unwrap_or_default()),
                    },
                },
                access_key: row.get(6)?,
                attempt: row.get(7)?,
            })
        })?
        .collect()
}

pub(super) fn finish_attempt(
    connection: &Connection,
    id: &str,
    attempt: &DeliveryAttempt,
    next: NextStep,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO attempts (delivery_id, number, at_ms, took_ms, status, error, answer)
             SELECT id, attempts, ?, ?, ?, ?, ? FROM deliveries WHERE id = ?",
        )?
        .execute(params![attempt.at_ms, attempt.took_ms, attempt.status, attempt.error, attempt.answer, id])?;
    let (state, due_ms, finished_ms) = match next {
        NextStep::Delivered => (DeliveryState::Delivered, None, Some(attempt.at_ms)),
        NextStep::RetryAt { ms } => (DeliveryState::Pending, Some(ms), None),
        NextStep::Dead => (DeliveryState::Dead, None, Some(attempt.at_ms)),
    };
    connection
        .prepare_cached(
            "UPDATE deliveries
             SET state = ?2, due_ms = coalesce(?3, due_ms), finished_ms = ?4, lease_until_ms = NULL
             WHERE id = ?1",
        )?
        .execute(params![id, state.name(), due_ms, finished_ms])
        .map(|_| ())
}
