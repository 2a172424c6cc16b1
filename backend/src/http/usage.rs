//! `GET /usage` and `GET /v1/usage`: what a key may use and has used, in each vendor's words.
//!
//! Both call the starts of requests in a minute "concurrency". A key without a limit reads a number that no one reaches,
//! since the vendors' clients calculate with these fields.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value as Json, json};
use snaphook_shared::code::Problem;
use snaphook_shared::dialect::{Dialect, Reply};
use snaphook_shared::limits::UNLIMITED_SHOWN;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, owner, raw_query, reply, with};
use crate::domain::limits::{Usage, minute_end_ms};

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let one = warp::path!("usage").map(|| Dialect::ScreenshotOne);
    let max = warp::path!("v1" / "usage").map(|| Dialect::ScreenshotMax);
    one.or(max)
        .unify()
        .and(warp::get().or(warp::head()).unify())
        .and(with(api))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|dialect, api: Arc<Api>, query: String, headers: HeaderMap| async move {
            match show(&api, dialect, &query, &headers).await {
                Ok(json) => reply::from_shared(Reply::json(200, json.to_string())),
                Err(problem) => reply::problem(dialect, &problem, &api.links),
            }
        })
        .boxed()
}

async fn show(api: &Api, dialect: Dialect, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (access_key, fields) = owner::authenticate(api, query, headers).await?;
    owner::nothing_else(&fields)?;
    let now_ms = api.clock.now_ms();
    let usage = api.queue.usage(&access_key, now_ms).await.map_err(owner::unavailable)?;
    Ok(to_json(dialect, &usage, now_ms))
}

fn to_json(dialect: Dialect, usage: &Usage, now_ms: u64) -> Json {
    let quota = usage.limits.monthly_quota.unwrap_or(UNLIMITED_SHOWN);
    let left = quota.saturating_sub(usage.rendered);
    let limit = usage.limits.requests_per_minute.unwrap_or(UNLIMITED_SHOWN);
    let remaining = limit.saturating_sub(usage.started);
    let reset_ms = minute_end_ms(now_ms);
    match dialect {
        Dialect::ScreenshotOne => json!({
            "total": quota,
            "available": left,
            "used": usage.rendered,
            // Nanoseconds, as the vendor has it.
            "concurrency": { "limit": limit, "remaining": remaining, "reset": reset_ms * 1_000_000 },
        }),
        Dialect::ScreenshotMax | Dialect::Native => json!({
            "hits": { "quota": quota, "used": usage.rendered, "remaining": left },
            "concurrency": { "limit": limit, "remaining": remaining, "reset": reset_ms / 1000 },
        }),
    }
}

#[cfg(test)]
mod tests {
    use snaphook_shared::key::KeyLimits;

    use super::*;

    #[test]
    fn each_vendor_reads_its_own_fields() {
        let limits = KeyLimits { monthly_quota: Some(10), requests_per_minute: Some(5), concurrency: None };
        let usage = Usage { limits, rendered: 4, unfinished: 3, started: 7, under_way: 0 };
        assert_eq!(
            to_json(Dialect::ScreenshotOne, &usage, 61_000).to_string(),
            r#"{"available":6,"concurrency":{"limit":5,"remaining":0,"reset":120000000000},"total":10,"used":4}"#
        );
        assert_eq!(
            to_json(Dialect::ScreenshotMax, &usage, 61_000).to_string(),
            r#"{"concurrency":{"limit":5,"remaining":0,"reset":120},"hits":{"quota":10,"remaining":6,"used":4}}"#
        );
    }
}
