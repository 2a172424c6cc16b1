//! SQL that shows requests, files and deliveries, and changes nothing.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};

use super::database::{Numbers, int, not_json, unreadable};
use super::deliveries::body;
use super::requests::new_request;
use crate::domain::artifact::Size;
use crate::domain::delivery::{
    ATTEMPTS_SHOWN, DeliveryAttempt, DeliveryState, DeliveryView, WebhookView, first_delivery_id,
};
use crate::domain::job::{RequestAttempt, RequestState, RequestView, StoredFile, first_request_id};
use crate::domain::operator::{DeliveryDetail, RequestDetail};
use crate::domain::ports::{DeliveryFilter, RequestFilter};
use crate::domain::retry::DEAD_FILE_KEPT;

const REQUESTS: &str = "
    SELECT r.id, r.access_key, r.endpoint, r.asynchronous, r.state, r.target, r.attempts, r.created_ms, r.started_ms,
           r.finished_ms, r.error_code, r.error_message, r.task_id, r.refused,
           f.name, f.content_type, f.bytes, f.width, f.height, f.attachment, f.expires_ms,
           d.id AS delivery_id, d.url, d.state AS delivery_state, d.attempts AS delivery_attempts, d.due_ms, d.end_reason,
           a.status, a.error
    FROM requests r
    LEFT JOIN files f ON f.request_id = r.id AND f.part = 0
    LEFT JOIN deliveries d ON d.request_id = r.id
    LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.attempts
    WHERE ";

fn view(row: &PgRow) -> sqlx::Result<RequestView> {
    let state: &str = row.try_get("state")?;
    let has = |column| row.try_get::<Option<&str>, _>(column).map(|value| value.is_some());
    Ok(RequestView {
        id: row.try_get("id")?,
        access_key: row.try_get("access_key")?,
        endpoint: row.try_get("endpoint")?,
        asynchronous: row.try_get("asynchronous")?,
        state: RequestState::from_name(state).ok_or_else(|| unreadable(format!("no state {state}")))?,
        target: row.try_get("target")?,
        attempts: row.number("attempts")?,
        created_ms: row.number("created_ms")?,
        started_ms: row.number_if_any("started_ms")?,
        finished_ms: row.number_if_any("finished_ms")?,
        error_code: row.try_get("error_code")?,
        error_message: row.try_get("error_message")?,
        file: if has("name")? { Some(stored_file(row)?) } else { None },
        webhook: if has("delivery_id")? { Some(webhook_view(row)?) } else { None },
        task_id: row.number_if_any("task_id")?,
        refused: match row.try_get::<Option<&str>, _>("refused")? {
            Some(text) => serde_json::from_str(text).map_err(not_json)?,
            None => Vec::new(),
        },
        log: Vec::new(),
    })
}

fn stored_file(row: &PgRow) -> sqlx::Result<StoredFile> {
    let size: (Option<u32>, Option<u32>) = (row.number_if_any("width")?, row.number_if_any("height")?);
    Ok(StoredFile {
        name: row.try_get("name")?,
        content_type: row.try_get("content_type")?,
        bytes: row.number("bytes")?,
        size: size.0.zip(size.1).map(|(width, height)| Size { width, height }),
        attachment: row.try_get("attachment")?,
        expires_ms: row.number("expires_ms")?,
    })
}

fn delivery_state(name: &str) -> sqlx::Result<DeliveryState> {
    DeliveryState::from_name(name).ok_or_else(|| unreadable(format!("no state {name}")))
}

fn webhook_view(row: &PgRow) -> sqlx::Result<WebhookView> {
    let state = delivery_state(row.try_get("delivery_state")?)?;
    let due_ms: u64 = row.number("due_ms")?;
    Ok(WebhookView {
        id: row.try_get("delivery_id")?,
        url: row.try_get("url")?,
        state,
        attempts: row.number("delivery_attempts")?,
        next_attempt_ms: (state == DeliveryState::Pending).then_some(due_ms),
        last_status: row.number_if_any("status")?,
        last_error: row.try_get("error")?,
        end_reason: row.try_get("end_reason")?,
    })
}

pub(super) async fn request(pool: &PgPool, id: &str) -> sqlx::Result<Option<RequestView>> {
    let mut query = QueryBuilder::<Postgres>::new(REQUESTS);
    query.push("r.id = ").push_bind(id);
    let Some(row) = query.build().fetch_optional(pool).await? else { return Ok(None) };
    let mut request = view(&row)?;
    let attempts = sqlx::query(
        "SELECT number, started_ms, ended_ms, reason FROM request_attempts WHERE request_id = $1 ORDER BY number",
    )
    .bind(id)
    .fetch_all(pool)
    .await?;
    let attempt = |row: &PgRow| {
        Ok(RequestAttempt {
            number: row.number("number")?,
            started_ms: row.number("started_ms")?,
            ended_ms: row.number_if_any("ended_ms")?,
            reason: row.try_get("reason")?,
        })
    };
    request.log = attempts.iter().map(attempt).collect::<sqlx::Result<_>>()?;
    Ok(Some(request))
}

pub(super) async fn requests(pool: &PgPool, filter: &RequestFilter) -> sqlx::Result<Vec<RequestView>> {
    let mut query = QueryBuilder::<Postgres>::new(REQUESTS);
    // "s" sorts after every "req_…".
    query.push("r.id < ").push_bind(filter.before.as_deref().unwrap_or("s"));
    if let Some(access_key) = &filter.access_key {
        query.push(" AND r.access_key = ").push_bind(access_key);
    }
    if let Some(state) = filter.state {
        query.push(" AND r.state = ").push_bind(state.name());
    }
    if let Some(task) = filter.task {
        query.push(" AND r.task_id = ").push_bind(int(task));
    }
    if let Some(since_ms) = filter.since_ms {
        query.push(" AND r.id >= ").push_bind(first_request_id(since_ms));
    }
    if let Some(until_ms) = filter.until_ms {
        query.push(" AND r.id < ").push_bind(first_request_id(until_ms));
    }
    if let Some(text) = &filter.text {
        // Of ASCII letters alone, as the port has it.
        query.push(" AND strpos(lower(r.target COLLATE \"C\"), lower(").push_bind(text).push(" COLLATE \"C\")) > 0");
    }
    query.push(" ORDER BY r.id DESC LIMIT ").push_bind(int(filter.limit));
    let rows = query.build().fetch_all(pool).await?;
    rows.iter().map(view).collect()
}

/// A request as it was accepted, its secrets left out, and what only the operator is told.
pub(super) async fn request_detail(pool: &PgPool, id: &str) -> sqlx::Result<Option<RequestDetail>> {
    let found = sqlx::query(
        "SELECT id, access_key, endpoint, options, idempotency_key, fingerprint, created_ms, urgency,
                traceparent, error_cause, render_ms
         FROM requests WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(RequestDetail {
        request: new_request(&row)?,
        error_cause: row.try_get("error_cause")?,
        render_ms: row.number_if_any("render_ms")?,
    }))
}

pub(super) async fn file(pool: &PgPool, name: &str) -> sqlx::Result<Option<StoredFile>> {
    let found = sqlx::query(
        "SELECT name, content_type, bytes, width, height, attachment, expires_ms FROM files WHERE name = $1",
    );
    let found = found.bind(name).fetch_optional(pool).await?;
    found.as_ref().map(stored_file).transpose()
}

pub(super) async fn expired_files(pool: &PgPool, now_ms: u64, limit: u32) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT name FROM files f
         WHERE NOT removed AND expires_ms <= $1
           AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.request_id = f.request_id
                           AND d.body_file = f.name
                           AND (d.state IN ('pending', 'sending') OR d.state = 'dead' AND d.finished_ms > $2))
         ORDER BY expires_ms LIMIT $3",
    )
    .bind(int(now_ms))
    .bind(int(now_ms.saturating_sub(DEAD_FILE_KEPT.as_millis() as u64)))
    .bind(int(limit))
    .fetch_all(pool)
    .await
}

pub(super) async fn unknown_files(pool: &PgPool, names: &[String]) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT name FROM unnest($1) AS given (name) WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.name = given.name)",
    )
    .bind(names)
    .fetch_all(pool)
    .await
}

const DELIVERIES: &str = "
    SELECT d.id, d.request_id, d.url, d.state, d.attempts, d.due_ms, d.finished_ms, d.end_reason FROM deliveries d WHERE ";

fn delivery_view(row: &PgRow) -> sqlx::Result<DeliveryView> {
    let state = delivery_state(row.try_get("state")?)?;
    let due_ms: u64 = row.number("due_ms")?;
    Ok(DeliveryView {
        id: row.try_get("id")?,
        request_id: row.try_get("request_id")?,
        url: row.try_get("url")?,
        state,
        attempts: row.number("attempts")?,
        next_attempt_ms: (state == DeliveryState::Pending).then_some(due_ms),
        finished_ms: row.number_if_any("finished_ms")?,
        end_reason: row.try_get("end_reason")?,
        log: Vec::new(),
    })
}

pub(super) async fn deliveries(pool: &PgPool, filter: &DeliveryFilter) -> sqlx::Result<Vec<DeliveryView>> {
    let mut query = QueryBuilder::<Postgres>::new(DELIVERIES);
    // "n" sorts after every "msg_…".
    query.push("d.id < ").push_bind(filter.before.as_deref().unwrap_or("n"));
    if let Some(access_key) = &filter.access_key {
        query.push(" AND d.access_key = ").push_bind(access_key);
    }
    if let Some(state) = filter.state {
        // In the text, where the planner sees that there is an index of just these.
        query.push(" AND d.state = '").push(state.name()).push("'");
    }
    if let Some(id) = &filter.id {
        query.push(" AND d.id = ").push_bind(id);
    }
    if let Some(url) = &filter.url {
        query.push(" AND starts_with(d.url, ").push_bind(url).push(")");
    }
    if let Some(since_ms) = filter.since_ms {
        query.push(" AND d.id >= ").push_bind(first_delivery_id(since_ms));
    }
    query.push(" ORDER BY d.id DESC LIMIT ").push_bind(int(filter.limit));
    let rows = query.build().fetch_all(pool).await?;
    let mut views = rows.iter().map(delivery_view).collect::<sqlx::Result<Vec<_>>>()?;
    let ids: Vec<String> = views.iter().map(|view| view.id.clone()).collect();
    let attempts = sqlx::query(
        "SELECT a.* FROM unnest($1::text[]) AS d (id)
         CROSS JOIN LATERAL (
             SELECT delivery_id, number, at_ms, took_ms, status, error, answer, headers FROM attempts
             WHERE delivery_id = d.id ORDER BY number DESC LIMIT $2
         ) a
         ORDER BY a.delivery_id, a.number",
    )
    .bind(ids)
    .bind(int(ATTEMPTS_SHOWN))
    .fetch_all(pool)
    .await?;
    for row in &attempts {
        let id: &str = row.try_get("delivery_id")?;
        if let Some(view) = views.iter_mut().find(|view| view.id == id) {
            view.log.push(attempt(row)?);
        }
    }
    Ok(views)
}

fn attempt(row: &PgRow) -> sqlx::Result<DeliveryAttempt> {
    Ok(DeliveryAttempt {
        number: row.number("number")?,
        at_ms: row.number("at_ms")?,
        took_ms: row.number("took_ms")?,
        status: row.number_if_any("status")?,
        error: row.try_get("error")?,
        answer: row.try_get("answer")?,
        headers: serde_json::from_str(row.try_get("headers")?).map_err(not_json)?,
    })
}

pub(super) async fn delivery_detail(pool: &PgPool, id: &str) -> sqlx::Result<Option<DeliveryDetail>> {
    let filter = DeliveryFilter { id: Some(id.to_owned()), limit: 1, ..DeliveryFilter::default() };
    let Some(view) = deliveries(pool, &filter).await?.pop() else { return Ok(None) };
    let found = sqlx::query("SELECT access_key, sign, headers, body, body_file FROM deliveries WHERE id = $1")
        .bind(id)
        .fetch_optional(pool)
        .await?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(DeliveryDetail {
        view,
        access_key: row.try_get("access_key")?,
        sign: row.try_get("sign")?,
        headers: serde_json::from_str(row.try_get("headers")?).map_err(not_json)?,
        body: body(&row)?,
    }))
}
