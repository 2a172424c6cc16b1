//! `/v1/deliveries`: a key's webhooks with every attempt. `GET` lists them, `POST …/{id}/replay` sends one again, and
//! `POST …/replay` those that are dead. `GET …/endpoints` says which addresses fail or are disabled, and
//! `POST …/endpoints/enable` ends that.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value as Json, json};
use snaphook_shared::code::{Code, Problem};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::owner::{self, answer, authenticate, time, unavailable};
use super::{Api, Response, raw_query, with};
use crate::domain::delivery::{DeliveryState, DeliveryView, EndpointView};
use crate::domain::ports::{DeliveryFilter, ReplayFilter};

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let list = warp::path!("v1" / "deliveries")
        .and(warp::get())
        .and(with(api.clone()))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, list(&api, &query, &headers).await)
        });
    let one = warp::path!("v1" / "deliveries" / String / "replay").map(Some);
    let all_dead = warp::path!("v1" / "deliveries" / "replay").map(|| None);
    let replay = one
        .or(all_dead)
        .unify()
        .and(warp::post())
        .and(with(api.clone()))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|id: Option<String>, api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, replay(&api, id, &query, &headers).await)
        });
    let endpoints = warp::path!("v1" / "deliveries" / "endpoints")
        .and(warp::get())
        .and(with(api.clone()))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, endpoints(&api, &query, &headers).await)
        });
    let enable = warp::path!("v1" / "deliveries" / "endpoints" / "enable")
        .and(warp::post())
        .and(with(api))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, enable(&api, &query, &headers).await)
        });
    list.or(replay).unify().or(endpoints).unify().or(enable).unify().boxed()
}

async fn list(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, mut fields) = authenticate(api, query, headers).await?;
    let state = owner::state(&mut fields, &DeliveryState::ALL.map(DeliveryState::name), DeliveryState::from_name)?;
    let limit = owner::limit(&mut fields)?;
    let before = fields.take("before");
    let (url, since_ms) = (fields.take("url"), owner::since(&mut fields)?);
    owner::nothing_else(&fields)?;
    let filter = DeliveryFilter { access_key: Some(access_key), state, id: None, url, since_ms, before, limit };
    let views = api.queue.deliveries(filter).await.map_err(unavailable)?;
    let next = views.last().filter(|_| views.len() == limit as usize).map(|view| view.id.clone());
    let deliveries: Vec<Json> = views.iter().map(to_json).collect();
    Ok(json!({ "deliveries": deliveries, "next": next }))
}

async fn replay(api: &Api, id: Option<String>, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, mut fields) = authenticate(api, query, headers).await?;
    let (single, url, since_ms) = (id.is_some(), fields.take("url"), owner::since(&mut fields)?);
    owner::nothing_else(&fields)?;
    let filter = ReplayFilter { access_key: Some(access_key), id, url, since_ms };
    let replayed = api.queue.replay(filter, api.clock.now_ms()).await.map_err(unavailable)?;
    if replayed == 0 && single {
        return Err(Problem::new(Code::NotFound));
    }
    api.deliveries.notify_one();
    Ok(json!({ "replayed": replayed }))
}

/// Those whose last attempt failed. The others have nothing to tell.
async fn endpoints(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, fields) = authenticate(api, query, headers).await?;
    owner::nothing_else(&fields)?;
    let views = api.queue.endpoints(Some(&access_key)).await.map_err(unavailable)?;
    let endpoints: Vec<Json> = views.iter().map(endpoint_json).collect();
    Ok(json!({ "endpoints": endpoints }))
}

async fn enable(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, mut fields) = authenticate(api, query, headers).await?;
    let url = fields.take("url");
    owner::nothing_else(&fields)?;
    let message = || Problem::with_detail(Code::RequestNotValid, "url", "\"url\" is required");
    let url = url.ok_or_else(message)?;
    match api.queue.enable_endpoint(&access_key, &url).await.map_err(unavailable)? {
        true => Ok(json!({ "url": url, "state": "enabled" })),
        false => Err(Problem::new(Code::NotFound)),
    }
}

/// An endpoint as its owner reads it.
pub(crate) fn endpoint_json(view: &EndpointView) -> Json {
    json!({
        "url": view.url,
        "state": if view.disabled_ms.is_some() { "disabled" } else { "failing" },
        "failures": view.failures,
        "failing_since": time(view.failing_since_ms),
        "last_failure_at": time(view.last_failure_ms),
        "last_error": view.last_error,
        "disabled_at": view.disabled_ms.map(time),
    })
}

fn headers(pairs: &[(String, String)]) -> Map<String, Json> {
    pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

/// A delivery as its owner reads it. Times are RFC 3339.
pub(crate) fn to_json(view: &DeliveryView) -> Json {
    let attempts: Vec<Json> = view
        .log
        .iter()
        .map(|attempt| {
            json!({
                "at": time(attempt.at_ms),
                "took_ms": attempt.took_ms,
                "status": attempt.status,
                "error": attempt.error,
                "answer": attempt.answer,
                "headers": headers(&attempt.headers),
            })
        })
        .collect();
    json!({
        "id": view.id,
        "request_id": view.request_id,
        "url": view.url,
        "state": view.state.name(),
        "next_attempt_at": view.next_attempt_ms.map(time),
        "finished_at": view.finished_ms.map(time),
        "end_reason": view.end_reason,
        "attempts": attempts,
    })
}
