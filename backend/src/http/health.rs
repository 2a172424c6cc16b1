//! `/healthz` (alive), `/readyz` (can work; says what is missing) and `/metrics` (for Prometheus), on a listener of their own.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use snaphook_shared::dialect::Reply;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Response, reply, with};
use crate::domain::ports::Readiness;
use crate::metrics;

/// Who knows what was counted and measured.
#[async_trait]
pub trait Scrape: Send + Sync {
    /// In Prometheus' text format.
    async fn metrics(&self) -> String;
}

/// The routes of the operations listener.
pub fn routes(readiness: Arc<dyn Readiness>, scrape: Arc<dyn Scrape>) -> BoxedFilter<(Response,)> {
    let alive = warp::path!("healthz")
        .and(warp::get())
        .map(|| reply::from_shared(Reply::json(200, json!({ "status": "alive" }).to_string())));
    let ready = warp::path!("readyz").and(warp::get()).and(with(readiness)).map(|readiness: Arc<dyn Readiness>| {
        let missing = readiness.missing();
        let status = if missing.is_empty() { 200 } else { 503 };
        let body = json!({ "ready": missing.is_empty(), "missing": missing, "warnings": readiness.warnings() });
        reply::from_shared(Reply::json(status, body.to_string()))
    });
    let metrics =
        warp::path!("metrics").and(warp::get()).and(with(scrape)).then(|scrape: Arc<dyn Scrape>| async move {
            let mut response = Response::new(scrape.metrics().await.into());
            reply::set(&mut response, "content-type", metrics::CONTENT_TYPE);
            response
        });
    let nowhere =
        warp::any().map(|| reply::from_shared(Reply::json(404, json!({ "status": "not found" }).to_string())));
    alive.or(ready).unify().or(metrics).unify().or(nowhere).unify().boxed()
}
