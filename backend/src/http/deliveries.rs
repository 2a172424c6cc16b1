//! `/v1/deliveries`: a key's webhooks with every attempt. `GET` lists them, `POST …/{id}/replay` sends one again, and
//! `POST …/replay` all that are dead.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value as Json, json};
use snaphook_shared::code::{Code, Problem};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::owner::{self, answer, authenticate, time, unavailable};
use super::{Api, Response, raw_query, with};
use crate::domain::job::{DeliveryState, DeliveryView};
use crate::domain::ports::DeliveryFilter;

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
        .and(with(api))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|id: Option<String>, api: Arc<Api>, query: String, headers: HeaderMap| async move {
            answer(&api, replay(&api, id, &query, &headers).await)
        });
    list.or(replay).unify().boxed()
}

async fn list(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, mut fields) = authenticate(api, query, headers).await?;
    let state = owner::state(&mut fields, &DeliveryState::ALL.map(DeliveryState::name), DeliveryState::from_name)?;
    let limit = owner::limit(&mut fields)?;
    let before = fields.take("before");
    owner::nothing_else(&fields)?;
    let filter = DeliveryFilter { access_key, state, before, limit };
    let views = api.queue.deliveries(filter).await.map_err(unavailable)?;
    let next = views.last().filter(|_| views.len() == limit as usize).map(|view| view.id.clone());
    let deliveries: Vec<Json> = views.iter().map(to_json).collect();
    Ok(json!({ "deliveries": deliveries, "next": next }))
}

async fn replay(api: &Api, id: Option<String>, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, _) = authenticate(api, query, headers).await?;
    let replayed = api.queue.replay(&access_key, id.as_deref(), api.clock.now_ms()).await.map_err(unavailable)?;
    if replayed == 0 && id.is_some() {
        return Err(Problem::new(Code::NotFound));
    }
    api.deliveries.notify_one();
    Ok(json!({ "replayed": replayed }))
}

fn to_json(view: &DeliveryView) -> Json {
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
        "attempts": attempts,
    })
}
