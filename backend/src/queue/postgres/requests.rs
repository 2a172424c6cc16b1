//! SQL over what moves requests: `requests`, `request_attempts` and `files`. The counters follow by the triggers of the
//! schema.

use std::collections::HashMap;

use snaphook_shared::priority::Urgency;
use snaphook_shared::request::Endpoint;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::database::{Lock, Numbers, int, lock, not_json, overtaken, text, unreadable};
use super::usage;
use crate::domain::capacity::Capacity;
use crate::domain::job::{ATTEMPTS_KEPT, ClaimedRequest, NewRequest, Outcome, PutBack, RequestState, StoredFile};
use crate::domain::limits::UnderWay;
use crate::domain::ports::Acceptance;
use crate::queue::options;

/// `secrets` are those of the options, sealed. One that is `counted` was admitted before, and its key's limits are not asked.
pub(super) async fn accept(
    connection: &mut PgConnection,
    request: &NewRequest,
    secrets: Option<&[u8]>,
    capacity: Capacity,
    counted: bool,
) -> sqlx::Result<Acceptance> {
    let refused = match refusal(connection, request, capacity, counted).await? {
        None if insert(connection, request, secrets, RequestState::Queued).await? => {
            if counted {
                usage::take_back(connection, &request.access_key, request.created_ms).await?;
            }
            return Ok(Acceptance::Accepted { id: request.id.clone(), created_ms: request.created_ms });
        }
        refused => refused,
    };
    // What was accepted before is answered as it was then, whatever holds by now.
    let earlier = already_accepted(connection, request).await?;
    earlier.or(refused).ok_or_else(|| unreadable("a request that was there a moment ago is gone"))
}

/// Takes a request of a key without limits, as most are, in one statement. False if it cannot be taken so: [`accept`] finds out
/// why, or takes it.
pub(super) async fn accept_unlimited(
    connection: &mut PgConnection,
    request: &NewRequest,
    secrets: Option<&[u8]>,
    capacity: Capacity,
) -> sqlx::Result<bool> {
    let free = "coalesce((SELECT sum(queued) FROM queue_sizes), 0) < $14
         AND NOT EXISTS (SELECT 1 FROM keys WHERE access_key = $2
                         AND (monthly_quota IS NOT NULL OR requests_per_minute IS NOT NULL))";
    let sql = format!(
        "{INSERT} SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13 WHERE {free} {UNLESS_THERE}"
    );
    bind(sqlx::query(sqlx::AssertSqlSafe(sql)), request, secrets, RequestState::Queued)?
        .bind(int(capacity.unreserved()))
        .execute(connection)
        .await
        .map(|done| done.rows_affected() == 1)
}

/// Why a request is not taken at this moment. A key with limits is held until the commit, so that what is checked is true
/// when it is counted; keys without any do not wait for each other.
async fn refusal(
    connection: &mut PgConnection,
    request: &NewRequest,
    capacity: Capacity,
    counted: bool,
) -> sqlx::Result<Option<Acceptance>> {
    let row = sqlx::query(
        "WITH sizes AS (SELECT coalesce(sum(queued), 0)::bigint AS queued FROM queue_sizes)
         SELECT queued,
                CASE WHEN queued < $2 THEN 0 ELSE queued_of($1, $3) END AS own,
                EXISTS (SELECT 1 FROM keys WHERE access_key = $1
                        AND (monthly_quota IS NOT NULL OR requests_per_minute IS NOT NULL)) AS limited
         FROM sizes",
    )
    .bind(&request.access_key)
    .bind(int(capacity.unreserved()))
    .bind(int(capacity.share()))
    .fetch_one(&mut *connection)
    .await?;
    if !capacity.has_room(row.number("queued")?, row.number("own")?) {
        return Ok(Some(Acceptance::Full));
    }
    if counted || !row.try_get::<bool, _>("limited")? {
        return Ok(None);
    }
    lock(connection, Lock::Usage, &request.access_key).await?;
    let usage = usage::get(connection, &request.access_key, request.created_ms).await?;
    Ok(usage.check(false, request.created_ms).err().map(Acceptance::Limited))
}

/// The edge may hand over the same request twice, and a caller may repeat itself under one idempotency key.
async fn already_accepted(connection: &mut PgConnection, request: &NewRequest) -> sqlx::Result<Option<Acceptance>> {
    let earlier = sqlx::query(
        "SELECT id, created_ms, fingerprint FROM requests WHERE id = $1
         UNION ALL
         SELECT id, created_ms, fingerprint FROM requests WHERE access_key = $2 AND idempotency_key = $3
         LIMIT 1",
    )
    .bind(&request.id)
    .bind(&request.access_key)
    .bind(&request.idempotency_key)
    .fetch_optional(connection)
    .await?;
    let Some(row) = earlier else { return Ok(None) };
    Ok(Some(match row.try_get::<String, _>("fingerprint")? == request.fingerprint {
        true => Acceptance::Accepted { id: row.try_get("id")?, created_ms: row.number("created_ms")? },
        false => Acceptance::KeyReused,
    }))
}

const INSERT: &str = "
    INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, idempotency_key, fingerprint, urgency,
                          state, due_ms, created_ms, secrets, traceparent)";
const UNLESS_THERE: &str = "ON CONFLICT DO NOTHING";

/// False if there is one of this id or idempotency key already.
pub(super) async fn insert(
    connection: &mut PgConnection,
    request: &NewRequest,
    secrets: Option<&[u8]>,
    state: RequestState,
) -> sqlx::Result<bool> {
    let sql = format!("{INSERT} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13) {UNLESS_THERE}");
    bind(sqlx::query(sqlx::AssertSqlSafe(sql)), request, secrets, state)?
        .execute(connection)
        .await
        .map(|done| done.rows_affected() == 1)
}

/// Binds what [`INSERT`] says.
fn bind<'q>(
    query: Bound<'q>,
    request: &'q NewRequest,
    secrets: Option<&'q [u8]>,
    state: RequestState,
) -> sqlx::Result<Bound<'q>> {
    Ok(query
        .bind(&request.id)
        .bind(&request.access_key)
        .bind(request.endpoint.path())
        .bind(request.options.delivery.asynchronous)
        .bind(options::write(&request.options).map_err(not_json)?)
        .bind(text(request.options.source.label()))
        .bind(&request.idempotency_key)
        .bind(&request.fingerprint)
        .bind(i64::from(request.urgency.level()))
        .bind(state.name())
        .bind(int(request.created_ms))
        .bind(secrets)
        .bind(&request.traceparent))
}

type Bound<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// The columns of a request that a worker needs. Each by its name: a newer program may have added others.
///
/// Claims of a key wait for each other until the commit, so it is not waited for until it is on the disk. A server that
/// crashes in that moment forgets the claim: the request waits again, and what was rendered meanwhile does not count.
const CLAIMED: &str = "
    SELECT id, access_key, endpoint, options, secrets, idempotency_key, fingerprint, urgency, attempts, failures, postponed,
           created_ms, traceparent
    FROM claim_request($1, $2, $3, $4::jsonb) WHERE set_config('synchronous_commit', 'off', TRUE) = 'off'";

/// A request that was leased, and its secrets, still sealed.
pub(super) type Claimed = (ClaimedRequest, Option<Vec<u8>>);

/// The next request to render. `waiting`: callers of each key who wait here. See `claim_request` in the schema.
pub(super) async fn claim(
    connection: &mut PgConnection,
    owner: &str,
    now_ms: u64,
    lease_until_ms: u64,
    waiting: &HashMap<String, u64>,
) -> sqlx::Result<Option<Claimed>> {
    let claimed = sqlx::query(CLAIMED)
        .bind(owner)
        .bind(int(now_ms))
        .bind(int(lease_until_ms))
        .bind(serde_json::to_string(waiting).map_err(not_json)?)
        .fetch_optional(connection)
        .await?;
    let Some(row) = claimed else { return Ok(None) };
    let claimed = ClaimedRequest {
        request: new_request(&row)?,
        attempt: row.number("attempts")?,
        failures: row.number("failures")?,
        postponed: row.number("postponed")?,
    };
    Ok(Some((claimed, row.try_get("secrets")?)))
}

/// As [`claim`], in a transaction. Callers of a key with a limit are let in under a lock that it holds by then. Some may have
/// come before it did, after they were counted: then it is tried again.
pub(super) async fn claim_beside_callers(
    connection: &mut PgConnection,
    owner: &str,
    now_ms: u64,
    lease_until_ms: u64,
    waiting: &HashMap<String, u64>,
    under_way: &UnderWay,
) -> sqlx::Result<Option<Claimed>> {
    let Some(claimed) = claim(connection, owner, now_ms, lease_until_ms, waiting).await? else { return Ok(None) };
    let access_key = &claimed.0.request.access_key;
    let callers = under_way.count(access_key);
    if callers > waiting.get(access_key).copied().unwrap_or_default()
        && usage::is_over(connection, access_key, callers).await?
    {
        return Err(overtaken());
    }
    Ok(Some(claimed))
}

/// A request as it was accepted, its secrets left out.
pub(super) fn new_request(row: &PgRow) -> sqlx::Result<NewRequest> {
    let endpoint: &str = row.try_get("endpoint")?;
    Ok(NewRequest {
        id: row.try_get("id")?,
        access_key: row.try_get("access_key")?,
        endpoint: Endpoint::from_path(endpoint).ok_or_else(|| unreadable(format!("no endpoint {endpoint}")))?,
        options: options::read(row.try_get("options")?).map_err(not_json)?,
        idempotency_key: row.try_get("idempotency_key")?,
        fingerprint: row.try_get("fingerprint")?,
        urgency: Urgency::new(row.number("urgency")?).unwrap_or_default(),
        created_ms: row.number("created_ms")?,
        traceparent: row.try_get("traceparent")?,
    })
}

pub(super) async fn extend(pool: &PgPool, id: &str, owner: &str, until_ms: u64) -> sqlx::Result<bool> {
    sqlx::query("UPDATE requests SET lease_until_ms = $3 WHERE id = $1 AND lease_owner = $2 AND state = 'rendering'")
        .bind(id)
        .bind(owner)
        .bind(int(until_ms))
        .execute(pool)
        .await
        .map(|done| done.rows_affected() == 1)
}

/// Notes how the attempt under way ended. The row's times tell attempts of workers from requests that never had one.
async fn end_attempt(connection: &mut PgConnection, id: &str, now_ms: u64, reason: Option<&str>) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE request_attempts SET ended_ms = $2, reason = $3
         WHERE request_id = $1 AND number = (SELECT attempts FROM requests WHERE id = $1)",
    )
    .bind(id)
    .bind(int(now_ms))
    .bind(reason.map(text))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Removes what lies between the first attempts and the last, and ended as this one did: what a reason begins with says how, and what
/// follows its colon names files and times.
async fn thin_out(connection: &mut PgConnection, id: &str, reason: &str) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM request_attempts
         WHERE request_id = $1 AND number > $3 AND number <= (SELECT attempts FROM requests WHERE id = $1) - $3
           AND split_part(reason, ':', 1) = split_part($2, ':', 1)",
    )
    .bind(id)
    .bind(text(reason))
    .bind(int(ATTEMPTS_KEPT))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Ends a request; `owner` None for one that was never leased. Gives whose it is; None if it is not the owner's to end.
pub(super) async fn finish(
    connection: &mut PgConnection,
    id: &str,
    owner: Option<&str>,
    now_ms: u64,
    outcome: &Outcome,
) -> sqlx::Result<Option<String>> {
    let (Outcome::Done { refused, .. } | Outcome::Failed { refused, .. }) = outcome;
    let refused = match refused.is_empty() {
        true => None,
        false => Some(serde_json::to_string(refused).map_err(not_json)?),
    };
    let (state, render_ms, code, message, cause) = match outcome {
        Outcome::Done { render_ms, .. } => (RequestState::Done, Some(*render_ms), None, None, None),
        Outcome::Failed { code, message, cause, .. } => {
            (RequestState::Failed, None, Some(code), Some(message), Some(cause))
        }
    };
    // The attempt under way ends with it; a request that was never leased has none.
    let ended: Option<String> = sqlx::query_scalar(
        "WITH ended AS (
             UPDATE requests
             SET state = $4, finished_ms = $3, render_ms = $5, error_code = $6, error_message = $7, error_cause = $8,
                 lease_owner = NULL, lease_until_ms = NULL, secrets = NULL, refused = $9
             WHERE id = $1 AND state = 'rendering' AND lease_owner IS NOT DISTINCT FROM $2
             RETURNING id, access_key, attempts
         ), attempt AS (
             UPDATE request_attempts a SET ended_ms = $3, reason = $8 FROM ended
             WHERE $2::text IS NOT NULL AND a.request_id = ended.id AND a.number = ended.attempts
         )
         SELECT access_key FROM ended",
    )
    .bind(id)
    .bind(owner)
    .bind(int(now_ms))
    .bind(state.name())
    .bind(render_ms.map(int))
    .bind(code)
    .bind(message.map(|message| text(message)))
    .bind(cause.map(|cause| text(cause)))
    .bind(refused)
    .fetch_optional(&mut *connection)
    .await?;
    if ended.is_some()
        && let Outcome::Done { file, parts, .. } = outcome
    {
        for (file, part) in file.iter().map(|file| (file, 0)).chain(parts.iter().zip(1..)) {
            insert_file(connection, id, file, part).await?;
        }
    }
    Ok(ended)
}

async fn insert_file(
    connection: &mut PgConnection,
    request_id: &str,
    file: &StoredFile,
    part: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO files (name, request_id, content_type, bytes, width, height, attachment, expires_ms, part)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&file.name)
    .bind(request_id)
    .bind(&file.content_type)
    .bind(int(file.bytes))
    .bind(file.size.map(|size| i64::from(size.width)))
    .bind(file.size.map(|size| i64::from(size.height)))
    .bind(file.attachment.as_deref().map(text))
    .bind(int(file.expires_ms))
    .bind(part)
    .execute(connection)
    .await
    .map(|_| ())
}

pub(super) async fn put_back(
    connection: &mut PgConnection,
    id: &str,
    owner: &str,
    back: &PutBack,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE requests
         SET state = 'queued', failures = failures + $5, postponed = postponed + $6, due_ms = $3, error_cause = $4,
             lease_owner = NULL, lease_until_ms = NULL
         WHERE id = $1 AND lease_owner = $2 AND state = 'rendering'",
    )
    .bind(id)
    .bind(owner)
    .bind(int(back.at_ms))
    .bind(text(&back.reason))
    .bind(i64::from(!back.ours))
    .bind(i64::from(back.ours))
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 1 {
        end_attempt(connection, id, back.now_ms, Some(&back.reason)).await?;
        if back.ours {
            thin_out(connection, id, &back.reason).await?;
        }
    }
    Ok(done.rows_affected() == 1)
}

pub(super) async fn cancel(
    connection: &mut PgConnection,
    access_key: &str,
    id: &str,
    now_ms: u64,
) -> sqlx::Result<Option<RequestState>> {
    let cancelled = sqlx::query(
        "UPDATE requests
         SET state = 'cancelled', finished_ms = $3, lease_owner = NULL, lease_until_ms = NULL, secrets = NULL
         WHERE access_key = $1 AND id = $2 AND state IN ('queued', 'rendering')",
    )
    .bind(access_key)
    .bind(id)
    .bind(int(now_ms))
    .execute(&mut *connection)
    .await?;
    if cancelled.rows_affected() == 1 {
        end_attempt(connection, id, now_ms, Some("cancelled")).await?;
    }
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM requests WHERE access_key = $1 AND id = $2")
        .bind(access_key)
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(state.and_then(|state| RequestState::from_name(&state)))
}

/// Returns what ran out by then, whoever held it.
pub(super) async fn release_expired(connection: &mut PgConnection, at_ms: u64) -> sqlx::Result<u64> {
    // What somebody is ending at this moment is not to be returned: it is passed over.
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM requests WHERE state = 'rendering' AND lease_until_ms <= $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(int(at_ms))
    .fetch_all(&mut *connection)
    .await?;
    release(connection, &ids, "the lease ran out").await
}

/// Returns all that these owners hold.
pub(super) async fn release_of(connection: &mut PgConnection, owners: &[String]) -> sqlx::Result<u64> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT id FROM requests WHERE state = 'rendering' AND lease_owner = ANY($1) FOR UPDATE SKIP LOCKED",
    )
    .bind(owners)
    .fetch_all(&mut *connection)
    .await?;
    release(connection, &ids, "the service ended").await
}

async fn release(connection: &mut PgConnection, ids: &[String], reason: &str) -> sqlx::Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    // Nobody knows when they ended, so no time is noted.
    sqlx::query(
        "UPDATE request_attempts a SET reason = $2 FROM requests r
         WHERE r.id = ANY($1) AND a.request_id = r.id AND a.number = r.attempts",
    )
    .bind(ids)
    .bind(reason)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE requests SET state = 'queued', lease_owner = NULL, lease_until_ms = NULL, error_cause = $2 WHERE id = ANY($1)",
    )
    .bind(ids)
    .bind(reason)
    .execute(connection)
    .await
    .map(|done| done.rows_affected())
}

pub(super) async fn forget_file(pool: &PgPool, name: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE files SET removed = TRUE WHERE name = $1").bind(name).execute(pool).await.map(|_| ())
}

pub(super) async fn purge(connection: &mut PgConnection, ended_before_ms: u64, limit: u32) -> sqlx::Result<u64> {
    let ended: Vec<String> = sqlx::query_scalar(
        "SELECT r.id FROM requests r
         WHERE r.finished_ms < $1 AND r.state IN ('done', 'failed', 'cancelled')
           AND NOT EXISTS (SELECT 1 FROM files f WHERE f.request_id = r.id AND NOT f.removed)
           AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.request_id = r.id AND d.state IN ('pending', 'sending'))
         ORDER BY r.finished_ms LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(int(ended_before_ms))
    .bind(int(limit))
    .fetch_all(&mut *connection)
    .await?;
    for sql in [
        "DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE request_id = ANY($1))",
        "DELETE FROM deliveries WHERE request_id = ANY($1)",
        "DELETE FROM files WHERE request_id = ANY($1)",
        "DELETE FROM request_attempts WHERE request_id = ANY($1)",
        "DELETE FROM requests WHERE id = ANY($1)",
    ] {
        sqlx::query(sql).bind(&ended).execute(&mut *connection).await?;
    }
    Ok(ended.len() as u64)
}
