//! `/healthz` (alive) and `/readyz` (can work; says what is missing), on a listener of their own.

use std::sync::Arc;

use serde_json::json;
use snaphook_shared::dialect::Reply;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Response, reply, with};
use crate::domain::ports::Readiness;

/// The routes of the operations listener.
pub fn routes(readiness: Arc<dyn Readiness>) -> BoxedFilter<(Response,)> {
    let alive = warp::path!("healthz")
        .and(warp::get())
        .map(|| reply::from_shared(Reply::json(200, json!({ "status": "alive" }).to_string())));
    let ready =
        warp::path!("readyz").and(warp::get()).and(with(readiness)).then(|readiness: Arc<dyn Readiness>| async move {
            let missing = readiness.missing().await;
            let status = if missing.is_empty() { 200 } else { 503 };
            let body = json!({ "ready": missing.is_empty(), "missing": missing, "warnings": readiness.warnings() });
            reply::from_shared(Reply::json(status, body.to_string()))
        });
    let nowhere =
        warp::any().map(|| reply::from_shared(Reply::json(404, json!({ "status": "not found" }).to_string())));
    alive.or(ready).unify().or(nowhere).unify().boxed()
}
