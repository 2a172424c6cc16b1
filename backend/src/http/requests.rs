//! `GET /v1/requests` and `GET /v1/requests/{id}`: what became of a key's requests.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value as Json, json};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::{Dialect, Reply};
use snaphook_shared::key::is_access_key;
use snaphook_shared::link::{self, LinkError};
use snaphook_shared::options::fields::Fields;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, raw_query, reply, with};
use crate::domain::job::{RequestState, RequestView};
use crate::domain::notice::Links;
use crate::domain::ports::{QueueError, RequestFilter};

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let list = warp::path!("v1" / "requests")
        .and(warp::get())
        .and(with(api.clone()))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, list(&api, &query, &headers).await)
        });
    let show = warp::path!("v1" / "requests" / String)
        .and(warp::get())
        .and(with(api))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|id: String, api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, show(&api, &id, &query, &headers).await)
        });
    list.or(show).unify().boxed()
}

fn answer(api: &Api, result: Result<Json, Problem>) -> Response {
    match result {
        Ok(json) => reply::from_shared(Reply::json(200, json.to_string())),
        Err(problem) => reply::problem(Dialect::Native, &problem, &api.links),
    }
}

async fn show(api: &Api, id: &str, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, _) = authenticate(api, query, headers).await?;
    let view = api.queue.request(id).await.map_err(unavailable)?;
    // Another key's request is not there, as far as this one can tell.
    let view = view.filter(|view| view.access_key == access_key).ok_or_else(|| Problem::new(Code::NotFound))?;
    Ok(to_json(&view, &api.links, api.clock.now_ms()))
}

async fn list(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, mut fields) = authenticate(api, query, headers).await?;
    let mut filter = RequestFilter { access_key: Some(access_key), limit: PAGE_DEFAULT, ..RequestFilter::default() };
    if let Some(name) = fields.take("state") {
        let names = || RequestState::ALL.map(RequestState::name).join(", ");
        let unknown =
            || Problem::with_detail(Code::RequestNotValid, "state", format!("\"state\" must be one of [{}]", names()));
        filter.state = Some(RequestState::from_name(&name).ok_or_else(unknown)?);
    }
    if let Some(limit) = fields.take("limit") {
        let message = format!("\"limit\" must be a number from 1 to {PAGE_MAX}");
        let limit = limit.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
        filter.limit = limit.ok_or_else(|| Problem::with_detail(Code::RequestNotValid, "limit", message))?;
    }
    filter.before = fields.take("before");
    refuse_unknown(&fields)?;
    let limit = filter.limit as usize;
    let views = api.queue.requests(filter).await.map_err(unavailable)?;
    let next = views.last().filter(|_| views.len() == limit).map(|view| view.id.clone());
    let now_ms = api.clock.now_ms();
    let requests: Vec<Json> = views.iter().map(|view| to_json(view, &api.links, now_ms)).collect();
    Ok(json!({ "requests": requests, "next": next }))
}

/// The access key, and the other parameters. As for the vendors' own look-ups, the key is enough, unless it accepts signed
/// links only.
pub(super) async fn authenticate(api: &Api, query: &str, headers: &HeaderMap) -> Result<(String, Fields), Problem> {
    let mut fields = Fields::from_query(query);
    fields.take("signature");
    fields.take("expires");
    let in_query = fields.take("access_key");
    let in_header = headers.get("x-access-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let access_key = in_header.or(in_query).ok_or_else(|| Problem::new(Code::AccessKeyRequired))?;
    let invalid = || Problem::new(Code::AccessKeyInvalid);
    if !is_access_key(&access_key) {
        return Err(invalid());
    }
    let record = api.queue.key(&access_key).await.map_err(unavailable)?;
    let record = record.filter(|record| !record.revoked).ok_or_else(invalid)?;
    let now_s = api.clock.now_s();
    match link::verify(query, &record.live_secrets(now_s), now_s) {
        Ok(()) => {}
        Err(LinkError::Missing) if !record.require_signed => {}
        Err(LinkError::Missing) => return Err(Problem::new(Code::SignatureIsRequired)),
        Err(_) => return Err(Problem::new(Code::SignatureIsNotValid)),
    }
    Ok((access_key, fields))
}

/// Refuses what is left when all known parameters have been taken.
pub(super) fn refuse_unknown(fields: &Fields) -> Result<(), Problem> {
    match fields.iter().next() {
        Some(field) => {
            let message = format!("\"{}\" is not allowed", field.name);
            Err(Problem::with_detail(Code::RequestNotValid, &field.name, message))
        }
        None => Ok(()),
    }
}

pub(super) fn unavailable(error: QueueError) -> Problem {
    tracing::error!(%error, "requests could not be read");
    Problem::unavailable()
}

/// A request as its owner reads it. Times are RFC 3339.
fn to_json(view: &RequestView, links: &Links, now_ms: u64) -> Json {
    let file = view.file.as_ref().map(|file| {
        json!({
            "url": links.file(&file.name),
            "content_type": file.content_type,
            "bytes": file.bytes,
            "width": file.width,
            "height": file.height,
            "expires_at": time(file.expires_ms),
            "expired": file.expires_ms <= now_ms,
        })
    });
    let error = view.error_code.as_ref().map(|code| {
        json!({
            "code": code,
            "message": view.error_message,
            "documentation_url": Code::from_name(code).map(|code| format!("{}/{}", links.error_docs(), code.entry().slug)),
        })
    });
    let webhook = view.webhook.as_ref().map(|webhook| {
        json!({
            "id": webhook.id,
            "url": webhook.url,
            "state": webhook.state.name(),
            "attempts": webhook.attempts,
            "next_attempt_at": webhook.next_attempt_ms.map(time),
            "last_status": webhook.last_status,
            "last_error": webhook.last_error,
        })
    });
    json!({
        "id": view.id,
        "state": view.state.name(),
        "endpoint": view.endpoint,
        "async": view.asynchronous,
        "target": view.target,
        "attempts": view.attempts,
        "created_at": time(view.created_ms),
        "started_at": view.started_ms.map(time),
        "finished_at": view.finished_ms.map(time),
        "error": error,
        "file": file,
        "webhook": webhook,
        "status_url": links.request(&view.id),
    })
}

fn time(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).unwrap_or_default()
}
