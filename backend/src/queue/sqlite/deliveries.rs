//! SQL over `deliveries` and `attempts`: the webhook outbox.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::endpoints::{self, Destination};
use super::requests::not_json;
use crate::domain::delivery::{
    ATTEMPTS_KEPT, ATTEMPTS_SHOWN, ClaimedDelivery, DISABLED, DeliveryAttempt, DeliveryBody, DeliveryState,
    DeliveryView, NewDelivery, NextStep, Release, Standing, first_delivery_id,
};
use crate::domain::ports::{DeliveryFilter, ReplayFilter};
use crate::domain::retry::FAILURES_IN_A_ROW;

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
    let disabled = endpoints::is_disabled(connection, access_key, delivery.endpoint())?;
    let (state, finished_ms, end_reason) = match disabled {
        true => (DeliveryState::Dead, Some(now_ms), Some(DISABLED)),
        false => (DeliveryState::Pending, None, None),
    };
    connection
        .prepare_cached(
            "INSERT INTO deliveries (id, request_id, access_key, url, receiver, endpoint, sign, headers, body, body_file,
                                     due_ms, state, finished_ms, end_reason)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            delivery.id,
            request_id,
            access_key,
            delivery.url,
            delivery.receiver(),
            delivery.endpoint(),
            delivery.sign,
            serde_json::to_string(&delivery.headers).map_err(not_json)?,
            body,
            body_file,
            now_ms,
            state.name(),
            finished_ms,
            end_reason
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
             RETURNING id, url, sign, headers, body, body_file, access_key, attempts, attempts - first_attempt, postponed,
                       (SELECT traceparent FROM requests WHERE requests.id = deliveries.request_id)",
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
                number: row.get(7)?,
                attempt: row.get(8)?,
                postponed: row.get(9)?,
                traceparent: row.get(10)?,
            })
        })
}

/// Gives the endpoint if it was disabled by it. What waits for that is not ended yet.
pub(super) fn finish_attempt(
    connection: &Connection,
    id: &str,
    attempt: &DeliveryAttempt,
    next: NextStep,
) -> rusqlite::Result<Option<Destination>> {
    let found = connection
        .prepare_cached(
            "SELECT access_key, receiver, endpoint, attempts = ?2 AND state IN ('sending', 'pending')
             FROM deliveries WHERE id = ?1",
        )?
        .query_row(params![id, attempt.number], |row| {
            let to = Destination { access_key: row.get(0)?, receiver: row.get(1)?, endpoint: row.get(2)? };
            Ok((to, row.get::<_, bool>(3)?))
        })
        .optional()?;
    // It may have been removed since, with its request.
    let Some((to, in_charge)) = found else { return Ok(None) };
    keep(connection, id, attempt)?;
    if !in_charge {
        return Ok(None);
    }
    let standing = match next.is_failure() {
        true => endpoints::failed(connection, &to, attempt, next == NextStep::Gone)?,
        false => Standing::Enabled,
    };
    if next == NextStep::Delivered {
        endpoints::succeeded(connection, &to)?;
    }
    let moved = next.moves(standing);
    connection
        .prepare_cached(
            "UPDATE deliveries
             SET state = ?2, due_ms = coalesce(?3, due_ms), finished_ms = ?4, end_reason = ?5, lease_until_ms = NULL,
                 -- An attempt whose lease was given back before has been left out then.
                 first_attempt = first_attempt + (?6 AND state = 'sending'),
                 postponed = postponed + (?6 AND state = 'sending')
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            moved.state.name(),
            moved.due_ms,
            moved.due_ms.is_none().then_some(attempt.at_ms),
            moved.end_reason,
            moved.postponed
        ])?;
    if moved.postponed {
        thin_out(connection, id, attempt.number)?;
    }
    Ok((standing == Standing::DisabledNow).then_some(to))
}

fn keep(connection: &Connection, id: &str, attempt: &DeliveryAttempt) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO attempts (delivery_id, number, at_ms, took_ms, status, error, answer, headers)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            id,
            attempt.number,
            attempt.at_ms,
            attempt.took_ms,
            attempt.status,
            attempt.error,
            attempt.answer,
            serde_json::to_string(&attempt.headers).map_err(not_json)?
        ])
        .map(|_| ())
}

/// Removes what lies between the first attempts and the last, up to this one.
fn thin_out(connection: &Connection, id: &str, number: u32) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM attempts WHERE delivery_id = ?1 AND number > ?3 AND number <= ?2 - ?3 AND status IS NULL",
        )?
        .execute(params![id, number, ATTEMPTS_KEPT])
        .map(|_| ())
}

pub(super) fn release(connection: &Connection, release: Release) -> rusqlite::Result<u64> {
    let held: Vec<(String, u32, u32)> = connection
        .prepare_cached(
            "SELECT id, attempts, postponed FROM deliveries
             WHERE state = 'sending' AND (?1 IS NULL OR lease_until_ms <= ?1) ORDER BY id",
        )?
        .query_map([release.expired_at_ms()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (place, (id, number, postponed)) in held.iter().enumerate() {
        let returned = release.returns(*postponed, place);
        connection
            .prepare_cached(
                "UPDATE deliveries
                 SET state = 'pending', due_ms = coalesce(?2, due_ms), lease_until_ms = NULL,
                     first_attempt = first_attempt + ?3, postponed = postponed + ?4
                 WHERE id = ?1",
            )?
            .execute(params![id, returned.due_ms, returned.uncounted, returned.postponed])?;
        keep(connection, id, &DeliveryAttempt::lost(*number, release))?;
        thin_out(connection, id, *number)?;
    }
    Ok(held.len() as u64)
}

const VIEW: &str = "
    SELECT d.id, d.request_id, d.url, d.state, d.attempts, d.due_ms, d.finished_ms, d.end_reason FROM deliveries d";

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
        end_reason: row.get(7)?,
        log: Vec::new(),
    })
}

pub(super) fn list(connection: &Connection, filter: &DeliveryFilter) -> rusqlite::Result<Vec<DeliveryView>> {
    let mut sql = format!("{VIEW} WHERE d.id < :before");
    let before = filter.before.clone().unwrap_or_else(|| "n".to_owned()); // sorts after every "msg_…"
    let since = filter.since_ms.map(first_delivery_id);
    let mut parameters: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":before", &before), (":limit", &filter.limit)];
    if let Some(access_key) = &filter.access_key {
        sql.push_str(" AND d.access_key = :access_key");
        parameters.push((":access_key", access_key));
    }
    if let Some(state) = filter.state {
        // In the text, where the planner sees that there is an index of just these.
        sql.push_str(&format!(" AND d.state = '{}'", state.name()));
    }
    if let Some(id) = &filter.id {
        sql.push_str(" AND d.id = :id");
        parameters.push((":id", id));
    }
    if let Some(url) = &filter.url {
        sql.push_str(" AND substr(d.url, 1, length(:url)) = :url");
        parameters.push((":url", url));
    }
    if let Some(since) = &since {
        sql.push_str(" AND d.id >= :since");
        parameters.push((":since", since));
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
            "SELECT number, at_ms, took_ms, status, error, answer, headers FROM (
                 SELECT * FROM attempts WHERE delivery_id = ? ORDER BY number DESC LIMIT ?)
             ORDER BY number",
        )?
        .query_map(params![id, ATTEMPTS_SHOWN], |row| {
            let headers: String = row.get(6)?;
            Ok(DeliveryAttempt {
                number: row.get(0)?,
                at_ms: row.get(1)?,
                took_ms: row.get(2)?,
                status: row.get(3)?,
                error: row.get(4)?,
                answer: row.get(5)?,
                headers: serde_json::from_str(&headers).map_err(not_json)?,
            })
        })?
        .collect()
}

/// Makes at most `limit` deliveries due again that had ended by now, with the schedule from its start.
pub(super) fn replay(connection: &Connection, filter: &ReplayFilter, now_ms: u64, limit: u32) -> rusqlite::Result<u64> {
    // The attempts of before stay in the log: their numbers go on from where they were. What was replayed and is dead again
    // has ended later, so a caller who repeats this comes to an end.
    let which = match filter.id {
        Some(_) => "id = :id AND state IN ('dead', 'delivered')",
        // In the text, where the planner sees that there is an index of just these.
        None => ":id IS NULL AND state = 'dead'",
    };
    connection
        .prepare_cached(&format!(
            "UPDATE deliveries
             SET state = 'pending', due_ms = :now, finished_ms = NULL, end_reason = NULL, first_attempt = attempts, postponed = 0
             WHERE id IN (
                 SELECT id FROM deliveries
                 WHERE {which}
                   AND finished_ms <= :now
                   AND (:access_key IS NULL OR access_key = :access_key)
                   AND (:url IS NULL OR substr(url, 1, length(:url)) = :url)
                   AND id >= coalesce(:since, '')
                 LIMIT :limit)"
        ))?
        .execute(named_params! {
            ":now": now_ms, ":id": filter.id, ":access_key": filter.access_key, ":url": filter.url,
            ":since": filter.since_ms.map(first_delivery_id), ":limit": limit,
        })
        .map(|rows| rows as u64)
}
