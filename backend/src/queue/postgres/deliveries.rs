//! SQL over what moves `deliveries` and `attempts`: the webhook outbox.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};

use super::database::{Lock, Numbers, int, lock, not_json, text};
use super::endpoints::{self, Destination};
use crate::domain::delivery::{
    ATTEMPTS_KEPT, ClaimedDelivery, DISABLED, DeliveryAttempt, DeliveryBody, DeliveryState, NewDelivery, NextStep,
    Release, Standing, first_delivery_id,
};
use crate::domain::ports::ReplayFilter;
use crate::domain::retry::FAILURES_IN_A_ROW;

pub(super) async fn insert(
    connection: &mut PgConnection,
    request_id: &str,
    access_key: &str,
    now_ms: u64,
    delivery: &NewDelivery,
) -> sqlx::Result<()> {
    let (body, body_file) = match &delivery.body {
        DeliveryBody::Inline(bytes) => (Some(bytes), None),
        DeliveryBody::File(name) => (None, Some(name)),
    };
    // Dead at once where the endpoint is disabled.
    sqlx::query(
        "INSERT INTO deliveries (id, request_id, access_key, url, receiver, endpoint, sign, headers, body, body_file,
                                 due_ms, state, finished_ms, end_reason)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, CASE WHEN disabled THEN $12 ELSE $13 END,
                CASE WHEN disabled THEN $11 END, CASE WHEN disabled THEN $14 END
         FROM (SELECT EXISTS (SELECT 1 FROM endpoints WHERE access_key = $3 AND md5(url) = md5($6)
                              AND disabled_ms IS NOT NULL) AS disabled) endpoint",
    )
    .bind(&delivery.id)
    .bind(request_id)
    .bind(access_key)
    .bind(&delivery.url)
    .bind(delivery.receiver())
    .bind(delivery.endpoint())
    .bind(delivery.sign)
    .bind(serde_json::to_string(&delivery.headers).map_err(not_json)?)
    .bind(body)
    .bind(body_file)
    .bind(int(now_ms))
    .bind(DeliveryState::Dead.name())
    .bind(DeliveryState::Pending.name())
    .bind(DISABLED)
    .execute(connection)
    .await
    .map(|_| ())
}

/// How many deliveries to lease, and to whom.
pub(super) struct Claim<'a> {
    pub(super) owner: &'a str,
    pub(super) now_ms: u64,
    pub(super) lease_until_ms: u64,
    pub(super) limit: u32,
    pub(super) per_receiver: u32,
}

const CLAIM: &str = "
    SELECT id, url, sign, headers, body, body_file, access_key, attempts, attempt, postponed, due_ms, traceparent
    FROM claim_deliveries($1, $2, $3, $4, $5, $6)";

/// See `claim_deliveries` in the schema.
pub(super) async fn claim(connection: &mut PgConnection, claim: &Claim<'_>) -> sqlx::Result<Vec<ClaimedDelivery>> {
    // One backend at a time, or two would each give a receiver all of its places. A claim takes many at once.
    lock(connection, Lock::Deliveries, "").await?;
    let rows = sqlx::query(CLAIM)
        .bind(claim.owner)
        .bind(int(claim.now_ms))
        .bind(int(claim.lease_until_ms))
        .bind(int(claim.limit))
        .bind(int(claim.per_receiver))
        .bind(i64::from(FAILURES_IN_A_ROW))
        .fetch_all(connection)
        .await?;
    let mut claimed =
        rows.iter().map(|row| Ok((row.number("due_ms")?, claimed(row)?))).collect::<sqlx::Result<Vec<(u64, _)>>>()?;
    claimed.sort_by(|(due, one), (other_due, other)| (due, &one.delivery.id).cmp(&(other_due, &other.delivery.id)));
    Ok(claimed.into_iter().map(|(_, claimed)| claimed).collect())
}

fn claimed(row: &PgRow) -> sqlx::Result<ClaimedDelivery> {
    Ok(ClaimedDelivery {
        delivery: NewDelivery {
            id: row.try_get("id")?,
            url: row.try_get("url")?,
            sign: row.try_get("sign")?,
            headers: serde_json::from_str(row.try_get("headers")?).map_err(not_json)?,
            body: body(row)?,
        },
        access_key: row.try_get("access_key")?,
        number: row.number("attempts")?,
        attempt: row.number("attempt")?,
        postponed: row.number("postponed")?,
        traceparent: row.try_get("traceparent")?,
    })
}

pub(super) fn body(row: &PgRow) -> sqlx::Result<DeliveryBody> {
    Ok(match row.try_get::<Option<String>, _>("body_file")? {
        Some(name) => DeliveryBody::File(name),
        None => DeliveryBody::Inline(row.try_get::<Option<Vec<u8>>, _>("body")?.unwrap_or_default()),
    })
}

/// Gives the endpoint if it was disabled by it. What waits for that is not ended yet.
pub(super) async fn finish_attempt(
    connection: &mut PgConnection,
    id: &str,
    attempt: &DeliveryAttempt,
    next: NextStep,
) -> sqlx::Result<Option<Destination>> {
    let found = sqlx::query(
        "WITH delivery AS (
             SELECT id, access_key, receiver, endpoint, attempts = $2 AND state IN ('sending', 'pending') AS in_charge
             FROM deliveries WHERE id = $1 FOR UPDATE
         ), kept AS (
             INSERT INTO attempts (delivery_id, number, at_ms, took_ms, status, error, answer, headers)
             SELECT id, $2, $3, $4, $5, $6, $7, $8 FROM delivery
             ON CONFLICT (delivery_id, number) DO UPDATE
             SET at_ms = $3, took_ms = $4, status = $5, error = $6, answer = $7, headers = $8
         )
         SELECT access_key, receiver, endpoint, in_charge FROM delivery",
    )
    .bind(id)
    .bind(int(attempt.number))
    .bind(int(attempt.at_ms))
    .bind(int(attempt.took_ms))
    .bind(attempt.status.map(i64::from))
    .bind(attempt.error.as_deref().map(text))
    .bind(text(&attempt.answer))
    .bind(serde_json::to_string(&attempt.headers).map_err(not_json)?)
    .fetch_optional(&mut *connection)
    .await?;
    // It may have been removed since, with its request.
    let Some(row) = found else { return Ok(None) };
    let to = Destination {
        access_key: row.try_get("access_key")?,
        receiver: row.try_get("receiver")?,
        endpoint: row.try_get("endpoint")?,
    };
    if !row.try_get::<bool, _>("in_charge")? {
        return Ok(None);
    }
    let standing = match next.is_failure() {
        true => endpoints::failed(connection, &to, attempt, next == NextStep::Gone).await?,
        false => Standing::Enabled,
    };
    if next == NextStep::Delivered {
        endpoints::succeeded(connection, &to).await?;
    }
    let moved = next.moves(standing);
    sqlx::query(
        "UPDATE deliveries
         SET state = $2, due_ms = coalesce($3, due_ms), finished_ms = $4, end_reason = $5, lease_owner = NULL,
             lease_until_ms = NULL,
             -- An attempt whose lease was given back before has been left out then.
             first_attempt = first_attempt + CASE state WHEN 'sending' THEN $6 ELSE 0 END,
             postponed = postponed + CASE state WHEN 'sending' THEN $6 ELSE 0 END
         WHERE id = $1",
    )
    .bind(id)
    .bind(moved.state.name())
    .bind(moved.due_ms.map(int))
    .bind(moved.due_ms.is_none().then(|| int(attempt.at_ms)))
    .bind(moved.end_reason)
    .bind(i64::from(moved.postponed))
    .execute(&mut *connection)
    .await?;
    if moved.postponed {
        thin_out(connection, &[id.to_owned()], &[int(attempt.number)]).await?;
    }
    Ok((standing == Standing::DisabledNow).then_some(to))
}

/// Removes what lies between the first attempts and the last, up to these.
async fn thin_out(connection: &mut PgConnection, ids: &[String], numbers: &[i64]) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM attempts a USING unnest($1::text[], $2::bigint[]) AS d (id, number)
         WHERE a.delivery_id = d.id AND a.number > $3 AND a.number <= d.number - $3 AND a.status IS NULL",
    )
    .bind(ids)
    .bind(numbers)
    .bind(int(ATTEMPTS_KEPT))
    .execute(connection)
    .await
    .map(|_| ())
}

/// Returns what has run out, whoever held it.
pub(super) async fn release_expired(connection: &mut PgConnection, release: Release) -> sqlx::Result<u64> {
    let held = sqlx::query(
        "SELECT id, attempts, postponed FROM deliveries WHERE state = 'sending' AND lease_until_ms <= $1
         ORDER BY id FOR UPDATE SKIP LOCKED",
    )
    .bind(int(release.now_ms()))
    .fetch_all(&mut *connection)
    .await?;
    give_back(connection, release, &held).await
}

/// Returns all that this backend was sending.
pub(super) async fn release_of(connection: &mut PgConnection, release: Release, owner: &str) -> sqlx::Result<u64> {
    let held = sqlx::query(
        "SELECT id, attempts, postponed FROM deliveries WHERE state = 'sending' AND lease_owner = $1
         ORDER BY id FOR UPDATE SKIP LOCKED",
    )
    .bind(owner)
    .fetch_all(&mut *connection)
    .await?;
    give_back(connection, release, &held).await
}

async fn give_back(connection: &mut PgConnection, release: Release, held: &[PgRow]) -> sqlx::Result<u64> {
    if held.is_empty() {
        return Ok(0);
    }
    let (mut ids, mut numbers, mut returned) = (Vec::new(), Vec::new(), Vec::new());
    for (place, row) in held.iter().enumerate() {
        ids.push(row.try_get::<String, _>("id")?);
        numbers.push(row.try_get::<i64, _>("attempts")?);
        returned.push(release.returns(row.number("postponed")?, place));
    }
    sqlx::query(
        "WITH returned AS (
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                 AS r (id, number, due_ms, uncounted, postponed)
         ), kept AS (
             INSERT INTO attempts (delivery_id, number, at_ms, took_ms, error, answer, headers)
             SELECT id, number, $6, 0, $7, '', '[]' FROM returned
             ON CONFLICT (delivery_id, number) DO NOTHING
         )
         UPDATE deliveries d
         SET state = 'pending', due_ms = coalesce(r.due_ms, d.due_ms), lease_owner = NULL, lease_until_ms = NULL,
             first_attempt = d.first_attempt + r.uncounted, postponed = d.postponed + r.postponed
         FROM returned r WHERE d.id = r.id",
    )
    .bind(&ids)
    .bind(&numbers)
    .bind(returned.iter().map(|returned| returned.due_ms.map(int)).collect::<Vec<_>>())
    .bind(returned.iter().map(|returned| i64::from(returned.uncounted)).collect::<Vec<_>>())
    .bind(returned.iter().map(|returned| i64::from(returned.postponed)).collect::<Vec<_>>())
    .bind(int(release.now_ms()))
    .bind(release.reason())
    .execute(&mut *connection)
    .await?;
    thin_out(connection, &ids, &numbers).await?;
    Ok(held.len() as u64)
}

/// Makes at most `limit` deliveries due again that had ended by now, with the schedule from its start.
pub(super) async fn replay(pool: &PgPool, filter: &ReplayFilter, now_ms: u64, limit: u32) -> sqlx::Result<u64> {
    // The attempts of before stay in the log: their numbers go on from where they were. What was replayed and is dead again
    // has ended later, so a caller who repeats this comes to an end.
    let one = "id = $2 AND state IN ('dead', 'delivered')";
    // In the text, where the planner sees that there is an index of just these.
    let all = "$2::text IS NULL AND state = 'dead'";
    let which = if filter.id.is_some() { one } else { all };
    let sql = format!(
        "UPDATE deliveries
         SET state = 'pending', due_ms = $1, finished_ms = NULL, end_reason = NULL, first_attempt = attempts, postponed = 0
         WHERE id IN (
             SELECT id FROM deliveries
             WHERE {which}
               AND finished_ms <= $1
               AND ($3::text IS NULL OR access_key = $3)
               AND ($4::text IS NULL OR starts_with(url, $4))
               AND id >= coalesce($5, '')
             LIMIT $6 FOR UPDATE SKIP LOCKED)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(int(now_ms))
        .bind(&filter.id)
        .bind(&filter.access_key)
        .bind(&filter.url)
        .bind(filter.since_ms.map(first_delivery_id))
        .bind(int(limit))
        .execute(pool)
        .await
        .map(|done| done.rows_affected())
}
