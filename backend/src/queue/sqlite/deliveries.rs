//! SQL over `deliveries` and `attempts`: the webhook outbox.

use rusqlite::{Connection, Row, named_params, params};

use super::requests::not_json;
use crate::domain::job::{
    ClaimedDelivery, DeliveryAttempt, DeliveryBody, DeliveryState, DeliveryView, NewDelivery, NextStep,
};
use crate::domain::ports::DeliveryFilter;

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
            "INSERT INTO deliveries (id, request_id, access_key, url, receiver, sign, headers, body, body_file, state, due_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)",
        )?
        .execute(params![
            delivery.id,
            request_id,
            access_key,
            delivery.url,
            delivery.receiver(),
            delivery.sign,
            serde_json::to_string(&delivery.headers).map_err(not_json)?,
            body,
            body_file,
            now_ms
        ])
        .map(|_| ())
}

/// The receivers with something due, the longest due first, and how many attempts more each may have under way: one in all,
/// while it keeps failing. So a receiver that hangs holds up its own deliveries and no others.
const RECEIVERS: &str = "
    WITH RECURSIVE waiting (receiver) AS (
        SELECT min(receiver) FROM deliveries WHERE state = 'pending'
        UNION ALL
        SELECT (SELECT min(d.receiver) FROM deliveries d WHERE d.state = 'pending' AND d.receiver > waiting.receiver)
        FROM waiting WHERE waiting.receiver IS NOT NULL
    )
    SELECT receiver,
           CASE WHEN coalesce(receivers.failures, 0) >= :failures THEN 1 ELSE :places END
               - (SELECT count(*) FROM deliveries d WHERE d.state = 'sending' AND d.receiver = waiting.receiver) AS free,
           (SELECT min(d.due_ms) FROM deliveries d WHERE d.state = 'pending' AND d.receiver = waiting.receiver) AS due
    FROM waiting LEFT JOIN receivers USING (receiver)
    WHERE free > 0 AND due <= :now
    ORDER BY due LIMIT :limit";

/// Failures in a row after which a receiver is sent one delivery at a time, until one arrives.
const FAILURES_IN_A_ROW: u32 = 5;

pub(super) fn claim(
    connection: &Connection,
    now_ms: u64,
    lease_until_ms: u64,
    limit: u32,
    per_receiver: u32,
) -> rusqlite::Result<Vec<ClaimedDelivery>> {
    let parameters =
        named_params! { ":failures": FAILURES_IN_A_ROW, ":places": per_receiver, ":now": now_ms, ":limit": limit };
    let receivers: Vec<(String, u32)> = connection
        .prepare_cached(RECEIVERS)?
        .query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut claimed = Vec::new();
    for (receiver, free) in receivers {
        let room = limit.saturating_sub(claimed.len() as u32).min(free);
        let due: Vec<String> = connection
            .prepare_cached(
                "SELECT id FROM deliveries WHERE state = 'pending' AND receiver = ? AND due_ms <= ? ORDER BY due_ms LIMIT ?",
            )?
            .query_map(params![receiver, now_ms, room], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in due {
            claimed.push(lease(connection, &id, lease_until_ms)?);
        }
    }
    Ok(claimed)
}

fn lease(connection: &Connection, id: &str, lease_until_ms: u64) -> rusqlite::Result<ClaimedDelivery> {
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'sending', attempts = attempts + 1, lease_until_ms = ?2 WHERE id = ?1
             RETURNING id, url, sign, headers, body, body_file, access_key, attempts - first_attempt",
        )?
        .query_row(params![id, lease_until_ms], |row| {
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
        })
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
        .execute(params![id, state.name(), due_ms, finished_ms])?;
    count_failure(connection, id, next == NextStep::Delivered)
}

fn count_failure(connection: &Connection, id: &str, delivered: bool) -> rusqlite::Result<()> {
    let sql = match delivered {
        true => "DELETE FROM receivers WHERE receiver = (SELECT receiver FROM deliveries WHERE id = ?)",
        false => {
            "INSERT INTO receivers (receiver, failures) SELECT receiver, 1 FROM deliveries WHERE id = ?
             ON CONFLICT (receiver) DO UPDATE SET failures = failures + 1"
        }
    };
    connection.prepare_cached(sql)?.execute([id]).map(|_| ())
}

const VIEW: &str = "
    SELECT d.id, d.request_id, d.url, d.state, d.attempts, d.due_ms, d.finished_ms FROM deliveries d";

fn view(row: &Row<'_>) -> rusqlite::Result<DeliveryView> {
    let state: String = row.get(3)?;
    let state = DeliveryState::from_name(&state).ok_or(rusqlite::Error::InvalidQuery)?;
    let due_ms: u64 = row.get(5)?;
    Ok(DeliveryView {
        id: row.get(0)?,
        request_id: row.get(1)?,
        url: row.get(2)?,
        state,
        attempts: row.get(4)?,
        next_attempt_ms: (state == DeliveryState::Pending).then_some(due_ms),
        finished_ms: row.get(6)?,
        log: Vec::new(),
    })
}

pub(super) fn list(connection: &Connection, filter: &DeliveryFilter) -> rusqlite::Result<Vec<DeliveryView>> {
    let mut sql = format!("{VIEW} WHERE d.access_key = :access_key AND d.id < :before");
    let before = filter.before.clone().unwrap_or_else(|| "n".to_owned()); // sorts after every "msg_…"
    let state = filter.state.map(DeliveryState::name);
    let mut parameters: Vec<(&str, &dyn rusqlite::ToSql)> =
        vec![(":access_key", &filter.access_key), (":before", &before), (":limit", &filter.limit)];
    if let Some(state) = &state {
        sql.push_str(" AND d.state = :state");
        parameters.push((":state", state));
    }
    sql.push_str(" ORDER BY d.id DESC LIMIT :limit");
    let mut views: Vec<DeliveryView> =
        connection.prepare_cached(&sql)?.query_map(parameters.as_slice(), view)?.collect::<rusqlite::Result<_>>()?;
    for view in &mut views {
        view.log = attempts(connection, &view.id)?;
    }
    Ok(views)
}

fn attempts(connection: &Connection, id: &str) -> rusqlite::Result<Vec<DeliveryAttempt>> {
    connection
        .prepare_cached(
            "SELECT at_ms, took_ms, status, error, answer FROM attempts WHERE delivery_id = ? ORDER BY number",
        )?
        .query_map([id], |row| {
            Ok(DeliveryAttempt {
                at_ms: row.get(0)?,
                took_ms: row.get(1)?,
                status: row.get(2)?,
                error: row.get(3)?,
                answer: row.get(4)?,
            })
        })?
        .collect()
}

/// Makes finished deliveries due again, with the schedule from its start: one of them, or all dead ones of the key.
pub(super) fn replay(
    connection: &Connection,
    access_key: &str,
    id: Option<&str>,
    now_ms: u64,
) -> rusqlite::Result<u64> {
    // The attempts of before stay in the log: their numbers go on from where they were.
    connection
        .prepare_cached(
            "UPDATE deliveries SET state = 'pending', due_ms = ?3, finished_ms = NULL, first_attempt = attempts
             WHERE access_key = ?1 AND CASE WHEN ?2 IS NULL THEN state = 'dead'
                                            ELSE id = ?2 AND state IN ('dead', 'delivered') END",
        )?
        .execute(params![access_key, id, now_ms])
        .map(|rows| rows as u64)
}
