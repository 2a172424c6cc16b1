//! `/v1/requests`: what became of a key's requests. `GET` lists them or shows one, `POST …/{id}/cancel` ends one.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value as Json, json};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::options::fields::Fields;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::owner::{self, answer, authenticate, time, unavailable};
use super::{Api, Response, raw_query, with};
use crate::domain::job::{RequestAttempt, RequestState, RequestView};
use crate::domain::notice::Links;
use crate::domain::ports::RequestFilter;

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
        .and(with(api.clone()))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|id: String, api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, show(&api, &id, &query, &headers).await)
        });
    let cancel = warp::path!("v1" / "requests" / String / "cancel")
        .and(warp::post())
        .and(with(api))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|id: String, api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, cancel(&api, &id, &query, &headers).await)
        });
    list.or(show).unify().or(cancel).unify().boxed()
}

async fn show(api: &Api, id: &str, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, _) = authenticate(api, query, headers).await?;
    let view = api.queue.request(id).await.map_err(unavailable)?;
    // Another key's request is not there, as far as this one can tell.
    let view = view.filter(|view| view.access_key == access_key).ok_or_else(|| Problem::new(Code::NotFound))?;
    Ok(with_log(&view, &api.links, api.clock.now_ms()))
}

/// A request with all its attempts.
pub(crate) fn with_log(view: &RequestView, links: &Links, now_ms: u64) -> Json {
    let attempt = |attempt: &RequestAttempt| {
        let (started, ended) = (time(attempt.started_ms), attempt.ended_ms.map(time));
        json!({ "number": attempt.number, "started_at": started, "ended_at": ended, "reason": attempt.reason })
    };
    let mut json = to_json(view, links, now_ms);
    json["attempt_log"] = view.log.iter().map(attempt).collect();
    json
}

async fn cancel(api: &Api, id: &str, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, _) = authenticate(api, query, headers).await?;
    let state = api.queue.cancel(&access_key, id, api.clock.now_ms()).await.map_err(unavailable)?;
    let state = state.ok_or_else(|| Problem::new(Code::NotFound))?;
    Ok(json!({ "id": id, "state": state.name() }))
}

async fn list(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, mut fields) = authenticate(api, query, headers).await?;
    let state = owner::state(&mut fields, &RequestState::ALL.map(RequestState::name), RequestState::from_name)?;
    let limit = owner::limit(&mut fields)?;
    let before = fields.take("before");
    let task = task(&mut fields)?;
    owner::nothing_else(&fields)?;
    let filter = RequestFilter { access_key: Some(access_key), state, task, before, limit, ..RequestFilter::default() };
    let views = api.queue.requests(filter).await.map_err(unavailable)?;
    let next = views.last().filter(|_| views.len() == limit as usize).map(|view| view.id.clone());
    let now_ms = api.clock.now_ms();
    let requests: Vec<Json> = views.iter().map(|view| to_json(view, &api.links, now_ms)).collect();
    Ok(json!({ "requests": requests, "next": next }))
}

/// The `task` parameter.
fn task(fields: &mut Fields) -> Result<Option<u64>, Problem> {
    let Some(id) = fields.take("task") else { return Ok(None) };
    let message = "\"task\" must be the id of a task";
    id.parse().map(Some).map_err(|_| Problem::with_detail(Code::RequestNotValid, "task", message))
}

/// A request as its owner reads it. Times are RFC 3339.
pub(crate) fn to_json(view: &RequestView, links: &Links, now_ms: u64) -> Json {
    let file = view.file.as_ref().map(|file| {
        json!({
            "url": links.file(&file.name),
            "content_type": file.content_type,
            "bytes": file.bytes,
            "width": file.size.map(|size| size.width),
            "height": file.size.map(|size| size.height),
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
            "end_reason": webhook.end_reason,
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
        "task_id": view.task_id,
        "refused": view.refused,
        "status_url": links.request(&view.id),
    })
}
