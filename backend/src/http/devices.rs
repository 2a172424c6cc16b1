//! `GET /v1/devices`: what `viewport_device` can be, as ScreenshotMAX tells it.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value as Json, json};
use snaphook_shared::code::Problem;
use snaphook_shared::dialect::{Dialect, Reply};
use snaphook_shared::options::devices::{self, Device};
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, owner, raw_query, reply, with};

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::path!("v1" / "devices")
        .and(warp::get().or(warp::head()).unify())
        .and(with(api))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(|api: Arc<Api>, query: String, headers: HeaderMap| async move {
            match list(&api, &query, &headers).await {
                Ok(json) => reply::from_shared(Reply::json(200, json.to_string())),
                Err(problem) => reply::problem(Dialect::ScreenshotMax, &problem, &api.links),
            }
        })
        .boxed()
}

async fn list(api: &Api, query: &str, headers: &HeaderMap) -> Result<Json, Problem> {
    let (_, fields) = owner::authenticate(api, query, headers).await?;
    owner::nothing_else(&fields)?;
    Ok(json!({ "devices": devices::screenshotmax().map(to_json).collect::<Vec<Json>>() }))
}

fn to_json(device: &Device) -> Json {
    json!({
        "id": device.id,
        "name": device.name,
        "userAgent": device.user_agent,
        "viewport": {
            "width": device.width,
            "height": device.height,
            "deviceScaleFactor": device.scale,
            "isMobile": device.mobile(),
            "hasTouch": device.touch(),
            "isLandscape": device.landscape,
        },
    })
}
