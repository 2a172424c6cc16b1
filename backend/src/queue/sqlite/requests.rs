//! SQL over `requests` and `files`.

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use snaphook_shared::priority::Urgency;
use snaphook_shared::request::Endpoint;

use super::usage;
use crate::domain::artifact::Size;
use crate::domain::capacity::Capacity;
use crate::domain::delivery::{DeliveryState, Release, WebhookView};
use crate::domain::job::{
    ATTEMPTS_KEPT, ClaimedRequest, NewRequest, Outcome, PutBack, RequestAttempt, RequestState, RequestView, StoredFile,
    first_request_id,
};
use crate::domain::operator::RequestDetail;
use crate::domain::ports::{Acceptance, RequestFilter};
use crate::domain::retry::DEAD_FILE_KEPT;
use crate::queue::options;

/// `secrets` are those of the options, sealed. One that is `counted` was admitted before, and its key's limits are not asked.
pub(super) fn accept(
    connection: &Connection,
    request: &NewRequest,
    secrets: Option<&[u8]>,
    capacity: Capacity,
    counted: bool,
) -> rusqlite::Result<Acceptance> {
    if let Some(accepted) = already_accepted(connection, request)? {
        return Ok(accepted);
    }
    let (queued, own) = queued(connection, &request.access_key)?;
    if !capacity.has_room(queued, own) {
        return Ok(Acceptance::Full);
    }
    if !counted {
        let usage = usage::get(connection, &request.access_key, request.created_ms)?;
        if let Err(limited) = usage.check(false, request.created_ms) {
            return Ok(Acceptance::Limited(limited));
        }
        usage::start(connection, &request.access_key, request.created_ms)?;
    }
    insert(connection, request, secrets, RequestState::Queued)?;
    Ok(Acceptance::Accepted { id: request.id.clone(), created_ms: request.created_ms })
}

/// Requests that wait, and how many of them are this key's. Taken from the counters of the keys, since counting rows costs more
/// the more there are of them; what is being rendered is never more than there are workers.
fn queued(connection: &Connection, access_key: &str) -> rusqlite::Result<(u64, u64)> {
    connection
        .prepare_cached(
            "SELECT coalesce((SELECT sum(unfinished) FROM key_counters), 0)
                      - (SELECT count(*) FROM requests WHERE state = 'rendering'),
                    coalesce((SELECT unfinished FROM key_counters WHERE access_key = ?1), 0)
                      - (SELECT count(*) FROM requests WHERE state = 'rendering' AND access_key = ?1)",
        )?
        .query_row([access_key], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The edge may hand over the same request twice, and a caller may repeat itself under one idempotency key.
fn already_accepted(connection: &Connection, request: &NewRequest) -> rusqlite::Result<Option<Acceptance>> {
    let earlier = connection
        .prepare_cached(
            "SELECT id, created_ms, fingerprint FROM requests WHERE id = ?1
             UNION ALL
             SELECT id, created_ms, fingerprint FROM requests WHERE access_key = ?2 AND idempotency_key = ?3
             LIMIT 1",
        )?
        .query_row(params![request.id, request.access_key, request.idempotency_key], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?, row.get::<_, String>(2)?))
        })
        .optional()?;
    Ok(earlier.map(|(id, created_ms, fingerprint)| match fingerprint == request.fingerprint {
        true => Acceptance::Accepted { id, created_ms },
        false => Acceptance::KeyReused,
    }))
}

pub(super) fn insert(
    connection: &Connection,
    request: &NewRequest,
    secrets: Option<&[u8]>,
    state: RequestState,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, idempotency_key, fingerprint,
                                   urgency, state, due_ms, created_ms, secrets, traceparent)
             VALUES (:id, :access_key, :endpoint, :asynchronous, :options, :target, :idempotency_key, :fingerprint,
                     :urgency, :state, :created_ms, :created_ms, :secrets, :traceparent)",
        )?
        .execute(named_params! {
            ":id": request.id,
            ":access_key": request.access_key,
            ":endpoint": request.endpoint.path(),
            ":asynchronous": request.options.delivery.asynchronous,
            ":options": options::write(&request.options).map_err(not_json)?,
            ":target": request.options.source.label(),
            ":idempotency_key": request.idempotency_key,
            ":fingerprint": request.fingerprint,
            ":urgency": request.urgency.level(),
            ":state": state.name(),
            ":created_ms": request.created_ms,
            ":secrets": secrets,
            ":traceparent": request.traceparent,
        })
        .map(|_| ())
}

/// The next request to render: of the keys that wait, the one with the fewest renders under way, then the one whose turn is
/// the longest ago; of that key, the most urgent request, and of those the one that is due first. So no key can hold up another,
/// however much it has queued and however urgent it calls that. Busy keys have all that they may have under way.
const NEXT: &str = "
    WITH RECURSIVE waiting (access_key) AS (
        SELECT min(access_key) FROM requests WHERE state = 'queued'
        UNION ALL
        SELECT (SELECT min(r.access_key) FROM requests r WHERE r.state = 'queued' AND r.access_key > waiting.access_key)
        FROM waiting WHERE waiting.access_key IS NOT NULL
    )
    SELECT (SELECT r.id FROM requests r
            WHERE r.state = 'queued' AND r.access_key = waiting.access_key AND r.due_ms <= :now
            ORDER BY r.urgency, r.due_ms LIMIT 1) AS first
    FROM waiting LEFT JOIN keys USING (access_key)
    WHERE first IS NOT NULL AND waiting.access_key NOT IN (SELECT value FROM json_each(:busy))
    ORDER BY (SELECT count(*) FROM requests r WHERE r.state = 'rendering' AND r.access_key = waiting.access_key),
             coalesce(keys.last_claimed_ms, 0)
    LIMIT 1";

pub(super) fn claim(
    connection: &Connection,
    owner: &str,
    now_ms: u64,
    lease_until_ms: u64,
    busy: &[String],
) -> rusqlite::Result<Option<(ClaimedRequest, Option<Vec<u8>>)>> {
    let busy = serde_json::to_string(busy).map_err(not_json)?;
    let next: Option<String> = connection
        .prepare_cached(NEXT)?
        .query_row(named_params! { ":now": now_ms, ":busy": busy }, |row| row.get(0))
        .optional()?;
    let Some(id) = next else { return Ok(None) };
    let (claimed, secrets) = connection
        .prepare_cached(
            "UPDATE requests
             SET state = 'rendering', attempts = attempts + 1, lease_owner = :owner, lease_until_ms = :until,
                 started_ms = coalesce(started_ms, :now)
             WHERE id = :id
             RETURNING id, access_key, endpoint, options, idempotency_key, fingerprint, created_ms, urgency,
                       traceparent, attempts, failures, postponed, secrets",
        )?
        .query_row(named_params! { ":owner": owner, ":until": lease_until_ms, ":now": now_ms, ":id": id }, |row| {
            Ok((claimed(row)?, row.get(12)?))
        })?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO request_attempts (request_id, number, started_ms) VALUES (?, ?, ?)")?
        .execute(params![claimed.request.id, claimed.attempt, now_ms])?;
    // Not the clock but a count: two claims in one millisecond are still one after the other.
    connection
        .prepare_cached(
            "UPDATE keys SET last_claimed_ms = (SELECT max(?2, max(last_claimed_ms) + 1) FROM keys) WHERE access_key = ?1",
        )?
        .execute(params![claimed.request.access_key, now_ms])?;
    Ok(Some((claimed, secrets)))
}

fn claimed(row: &Row<'_>) -> rusqlite::Result<ClaimedRequest> {
    Ok(ClaimedRequest {
        request: new_request(row)?,
        attempt: row.get(9)?,
        failures: row.get(10)?,
        postponed: row.get(11)?,
    })
}

/// From id, access key, endpoint, options, idempotency key, fingerprint, time, urgency and place in a trace.
fn new_request(row: &Row<'_>) -> rusqlite::Result<NewRequest> {
    let options: String = row.get(3)?;
    let endpoint: String = row.get(2)?;
    Ok(NewRequest {
        id: row.get(0)?,
        access_key: row.get(1)?,
        endpoint: Endpoint::from_path(&endpoint).ok_or(rusqlite::Error::InvalidQuery)?,
        options: options::read(&options).map_err(not_json)?,
        idempotency_key: row.get(4)?,
        fingerprint: row.get(5)?,
        urgency: Urgency::new(row.get(7)?).unwrap_or_default(),
        created_ms: row.get(6)?,
        traceparent: row.get(8)?,
    })
}

pub(super) fn extend(connection: &Connection, id: &str, owner: &str, until_ms: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "UPDATE requests SET lease_until_ms = ?3 WHERE id = ?1 AND lease_owner = ?2 AND state = 'rendering'",
        )?
        .execute(params![id, owner, until_ms])
        .map(|rows| rows == 1)
}

/// Notes how the attempt under way ended. The row's times tell attempts of workers from requests that never had one.
fn end_attempt(connection: &Connection, id: &str, now_ms: Option<u64>, reason: Option<&str>) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE request_attempts SET ended_ms = ?2, reason = ?3
             WHERE request_id = ?1 AND number = (SELECT attempts FROM requests WHERE id = ?1)",
        )?
        .execute(params![id, now_ms, reason])
        .map(|_| ())
}

/// Removes what lies between the first attempts and the last, and ended as this one did: what a reason begins with says how, and what
/// follows its colon names files and times.
fn thin_out(connection: &Connection, id: &str, reason: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM request_attempts
             WHERE request_id = ?1 AND number > ?3 AND number <= (SELECT attempts FROM requests WHERE id = ?1) - ?3
               AND substr(reason, 1, instr(reason || ':', ':')) = substr(?2, 1, instr(?2 || ':', ':'))",
        )?
        .execute(params![id, reason, ATTEMPTS_KEPT])
        .map(|_| ())
}

/// Ends a request; `owner` None for one that was never leased. False if it is not the owner's to end.
pub(super) fn finish(
    connection: &Connection,
    id: &str,
    owner: Option<&str>,
    now_ms: u64,
    outcome: &Outcome,
) -> rusqlite::Result<bool> {
    let refused = match outcome {
        Outcome::Done { refused, .. } | Outcome::Failed { refused, .. } if refused.is_empty() => None,
        Outcome::Done { refused, .. } | Outcome::Failed { refused, .. } => {
            Some(serde_json::to_string(refused).map_err(not_json)?)
        }
    };
    let (state, render_ms, code, message, cause) = match outcome {
        Outcome::Done { render_ms, .. } => (RequestState::Done, Some(*render_ms), None, None, None),
        Outcome::Failed { code, message, cause, .. } => {
            (RequestState::Failed, None, Some(code), Some(message), Some(cause))
        }
    };
    let ended = connection
        .prepare_cached(
            "UPDATE requests
             SET state = :state, finished_ms = :now, render_ms = :render_ms, error_code = :code, error_message = :message,
                 error_cause = :cause, lease_owner = NULL, lease_until_ms = NULL, secrets = NULL, refused = :refused
             WHERE id = :id AND state = 'rendering' AND lease_owner IS :owner",
        )?
        .execute(named_params! {
            ":state": state.name(), ":now": now_ms, ":render_ms": render_ms, ":code": code, ":message": message,
            ":cause": cause, ":id": id, ":owner": owner, ":refused": refused,
        })?;
    if ended == 1 && owner.is_some() {
        end_attempt(connection, id, Some(now_ms), cause.map(String::as_str))?;
    }
    if let Outcome::Done { file, parts, .. } = outcome
        && ended == 1
    {
        for (file, part) in file.iter().map(|file| (file, 0)).chain(parts.iter().zip(1..)) {
            insert_file(connection, id, file, part)?;
        }
    }
    Ok(ended == 1)
}

fn insert_file(connection: &Connection, request_id: &str, file: &StoredFile, part: u32) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO files (name, request_id, content_type, bytes, width, height, attachment, expires_ms, part)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            file.name,
            request_id,
            file.content_type,
            file.bytes,
            file.size.map(|size| size.width),
            file.size.map(|size| size.height),
            file.attachment,
            file.expires_ms,
            part
        ])
        .map(|_| ())
}

pub(super) fn put_back(connection: &Connection, id: &str, owner: &str, back: &PutBack) -> rusqlite::Result<bool> {
    let rows = connection
        .prepare_cached(
            "UPDATE requests
             SET state = 'queued', failures = failures + ?5, postponed = postponed + ?6, due_ms = ?3, error_cause = ?4,
                 lease_owner = NULL, lease_until_ms = NULL
             WHERE id = ?1 AND lease_owner = ?2 AND state = 'rendering'",
        )?
        .execute(params![id, owner, back.at_ms, back.reason, !back.ours, back.ours])?;
    if rows == 1 {
        end_attempt(connection, id, Some(back.now_ms), Some(&back.reason))?;
        if back.ours {
            thin_out(connection, id, &back.reason)?;
        }
    }
    Ok(rows == 1)
}

pub(super) fn cancel(
    connection: &Connection,
    access_key: &str,
    id: &str,
    now_ms: u64,
) -> rusqlite::Result<Option<RequestState>> {
    let cancelled = connection
        .prepare_cached(
            "UPDATE requests
             SET state = 'cancelled', finished_ms = ?3, lease_owner = NULL, lease_until_ms = NULL, secrets = NULL
             WHERE access_key = ?1 AND id = ?2 AND state IN ('queued', 'rendering')",
        )?
        .execute(params![access_key, id, now_ms])?;
    if cancelled == 1 {
        end_attempt(connection, id, Some(now_ms), Some("cancelled"))?;
    }
    let state: Option<String> = connection
        .prepare_cached("SELECT state FROM requests WHERE access_key = ?1 AND id = ?2")?
        .query_row(params![access_key, id], |row| row.get(0))
        .optional()?;
    Ok(state.and_then(|state| RequestState::from_name(&state)))
}

pub(super) fn release(connection: &Connection, release: Release) -> rusqlite::Result<u64> {
    let given_back = params![release.expired_at_ms(), release.reason()];
    // Nobody knows when they ended, so no time is noted.
    connection
        .prepare_cached(
            "UPDATE request_attempts SET reason = ?2
             WHERE (request_id, number) IN (SELECT id, attempts FROM requests
                                            WHERE state = 'rendering' AND (?1 IS NULL OR lease_until_ms <= ?1))",
        )?
        .execute(given_back)?;
    connection
        .prepare_cached(
            "UPDATE requests SET state = 'queued', lease_owner = NULL, lease_until_ms = NULL,
                                 error_cause = ?2
             WHERE state = 'rendering' AND (?1 IS NULL OR lease_until_ms <= ?1)",
        )?
        .execute(given_back)
        .map(|rows| rows as u64)
}

const COLUMNS: &str = "
    SELECT r.id, r.access_key, r.endpoint, r.asynchronous, r.state, r.target, r.attempts, r.created_ms, r.started_ms,
           r.finished_ms, r.error_code, r.error_message,
           f.name, f.content_type, f.bytes, f.width, f.height, f.attachment, f.expires_ms,
           d.id, d.url, d.state, d.attempts, d.due_ms, a.status, a.error, r.task_id,
           r.refused, d.end_reason";

const JOINS: &str = "
    LEFT JOIN files f ON f.request_id = r.id AND f.part = 0
    LEFT JOIN deliveries d ON d.request_id = r.id
    LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.attempts";

fn view(row: &Row<'_>) -> rusqlite::Result<RequestView> {
    let state: String = row.get(4)?;
    let file_name: Option<String> = row.get(12)?;
    let webhook_id: Option<String> = row.get(19)?;
    Ok(RequestView {
        id: row.get(0)?,
        access_key: row.get(1)?,
        endpoint: row.get(2)?,
        asynchronous: row.get(3)?,
        state: RequestState::from_name(&state).ok_or(rusqlite::Error::InvalidQuery)?,
        target: row.get(5)?,
        attempts: row.get(6)?,
        created_ms: row.get(7)?,
        started_ms: row.get(8)?,
        finished_ms: row.get(9)?,
        error_code: row.get(10)?,
        error_message: row.get(11)?,
        file: match file_name {
            Some(name) => Some(stored_file(row, name, 13)?),
            None => None,
        },
        webhook: match webhook_id {
            Some(id) => Some(webhook_view(row, id)?),
            None => None,
        },
        task_id: row.get(26)?,
        refused: match row.get::<_, Option<String>>(27)? {
            Some(text) => serde_json::from_str(&text).map_err(not_json)?,
            None => Vec::new(),
        },
        log: Vec::new(),
    })
}

fn stored_file(row: &Row<'_>, name: String, first: usize) -> rusqlite::Result<StoredFile> {
    let size: (Option<u32>, Option<u32>) = (row.get(first + 2)?, row.get(first + 3)?);
    Ok(StoredFile {
        name,
        content_type: row.get(first)?,
        bytes: row.get(first + 1)?,
        size: size.0.zip(size.1).map(|(width, height)| Size { width, height }),
        attachment: row.get(first + 4)?,
        expires_ms: row.get(first + 5)?,
    })
}

fn webhook_view(row: &Row<'_>, id: String) -> rusqlite::Result<WebhookView> {
    let state: String = row.get(21)?;
    let state = DeliveryState::from_name(&state).ok_or(rusqlite::Error::InvalidQuery)?;
    let due_ms: u64 = row.get(23)?;
    Ok(WebhookView {
        id,
        url: row.get(20)?,
        state,
        attempts: row.get(22)?,
        next_attempt_ms: (state == DeliveryState::Pending).then_some(due_ms),
        last_status: row.get(24)?,
        last_error: row.get(25)?,
        end_reason: row.get(28)?,
    })
}

pub(super) fn request(connection: &Connection, id: &str) -> rusqlite::Result<Option<RequestView>> {
    let found = connection
        .prepare_cached(&format!("{COLUMNS} FROM requests r {JOINS} WHERE r.id = ?"))?
        .query_row([id], view)
        .optional()?;
    let Some(mut request) = found else { return Ok(None) };
    request.log = connection
        .prepare_cached(
            "SELECT number, started_ms, ended_ms, reason FROM request_attempts WHERE request_id = ? ORDER BY number",
        )?
        .query_map([id], |row| {
            Ok(RequestAttempt {
                number: row.get(0)?,
                started_ms: row.get(1)?,
                ended_ms: row.get(2)?,
                reason: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(request))
}

pub(super) fn requests(connection: &Connection, filter: &RequestFilter) -> rusqlite::Result<Vec<RequestView>> {
    let mut sql = format!("{COLUMNS} FROM requests r {JOINS} WHERE r.id < :before");
    let before = filter.before.clone().unwrap_or_else(|| "s".to_owned()); // sorts after every "req_…"
    let state = filter.state.map(RequestState::name);
    let mut parameters: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":before", &before), (":limit", &filter.limit)];
    if let Some(access_key) = &filter.access_key {
        sql.push_str(" AND r.access_key = :access_key");
        parameters.push((":access_key", access_key));
    }
    if let Some(state) = &state {
        sql.push_str(" AND r.state = :state");
        parameters.push((":state", state));
    }
    if let Some(task) = &filter.task {
        sql.push_str(" AND r.task_id = :task");
        parameters.push((":task", task));
    }
    let (since, until) = (filter.since_ms.map(first_request_id), filter.until_ms.map(first_request_id));
    if let Some(since) = &since {
        sql.push_str(" AND r.id >= :since");
        parameters.push((":since", since));
    }
    if let Some(until) = &until {
        sql.push_str(" AND r.id < :until");
        parameters.push((":until", until));
    }
    if let Some(text) = &filter.text {
        sql.push_str(" AND instr(lower(r.target), lower(:text)) > 0");
        parameters.push((":text", text));
    }
    sql.push_str(" ORDER BY r.id DESC LIMIT :limit");
    connection.prepare_cached(&sql)?.query_map(parameters.as_slice(), view)?.collect()
}

/// A request as it was accepted, its secrets left out, and what only the operator is told.
pub(super) fn detail(connection: &Connection, id: &str) -> rusqlite::Result<Option<RequestDetail>> {
    connection
        .prepare_cached(
            "SELECT id, access_key, endpoint, options, idempotency_key, fingerprint, created_ms, urgency,
                    traceparent, error_cause, render_ms
             FROM requests WHERE id = ?",
        )?
        .query_row([id], |row| {
            Ok(RequestDetail { request: new_request(row)?, error_cause: row.get(9)?, render_ms: row.get(10)? })
        })
        .optional()
}

pub(super) fn file(connection: &Connection, name: &str) -> rusqlite::Result<Option<StoredFile>> {
    connection
        .prepare_cached(
            "SELECT name, content_type, bytes, width, height, attachment, expires_ms FROM files WHERE name = ?",
        )?
        .query_row([name], |row| stored_file(row, row.get(0)?, 1))
        .optional()
}

pub(super) fn expired_files(connection: &Connection, now_ms: u64, limit: u32) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "SELECT name FROM files
             WHERE removed = 0 AND expires_ms <= ?
               AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.request_id = files.request_id
                               AND d.body_file = files.name
                               AND (d.state IN ('pending', 'sending') OR d.state = 'dead' AND d.finished_ms > ?))
             ORDER BY expires_ms LIMIT ?",
        )?
        .query_map(params![now_ms, now_ms.saturating_sub(DEAD_FILE_KEPT.as_millis() as u64), limit], |row| row.get(0))?
        .collect()
}

pub(super) fn forget_file(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE files SET removed = 1 WHERE name = ?")?.execute([name]).map(|_| ())
}

pub(super) fn unknown_files(connection: &Connection, names: Vec<String>) -> rusqlite::Result<Vec<String>> {
    let mut known = connection.prepare_cached("SELECT 1 FROM files WHERE name = ?")?;
    let mut unknown = Vec::new();
    for name in names {
        if !known.exists([&name])? {
            unknown.push(name);
        }
    }
    Ok(unknown)
}

pub(super) fn purge(connection: &Connection, ended_before_ms: u64, limit: u32) -> rusqlite::Result<u64> {
    let ended: Vec<String> = connection
        .prepare_cached(
            "SELECT r.id FROM requests r
             WHERE r.finished_ms < ?1 AND r.state IN ('done', 'failed', 'cancelled')
               AND NOT EXISTS (SELECT 1 FROM files f WHERE f.request_id = r.id AND f.removed = 0)
               AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.request_id = r.id AND d.state IN ('pending', 'sending'))
             ORDER BY r.finished_ms LIMIT ?2",
        )?
        .query_map(params![ended_before_ms, limit], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for id in &ended {
        for sql in [
            "DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE request_id = ?)",
            "DELETE FROM deliveries WHERE request_id = ?",
            "DELETE FROM files WHERE request_id = ?",
            "DELETE FROM request_attempts WHERE request_id = ?",
            "DELETE FROM requests WHERE id = ?",
        ] {
            connection.prepare_cached(sql)?.execute([id])?;
        }
    }
    Ok(ended.len() as u64)
}

pub(super) fn not_json(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
