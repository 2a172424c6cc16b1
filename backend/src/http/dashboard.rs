//! `/dashboard`: hands whole requests over to [`crate::dashboard`], which answers them. Everything else about the pages is
//! there; here is what needs warp.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures::Stream;
use http::{HeaderMap, Method};
use snaphook_shared::code::Code;
use snaphook_shared::limits::BODY_BYTES_MAX;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::path::FullPath;

use super::server::Peer;
use super::{Api, Response, body, docs, files, into_response, measure, raw_query, with};
use crate::dashboard::{Answer, Call, Dashboard};

/// Forms are small.
const FORM_BYTES_MAX: usize = 64 * 1024;
/// But for the one that holds a request of the API.
const PLAYGROUND_BYTES_MAX: usize = BODY_BYTES_MAX;

pub(super) fn routes(dashboard: Arc<Dashboard>, body_timeout: Duration) -> BoxedFilter<(Response,)> {
    warp::path("dashboard")
        .and(warp::path::full())
        .and(warp::method())
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(with(dashboard))
        .and(warp::body::stream())
        .then(
            move |path: FullPath,
                  method: Method,
                  query,
                  headers: HeaderMap,
                  peer: Option<Peer>,
                  dashboard: Arc<Dashboard>,
                  body| {
                let path = path.as_str().strip_prefix("/dashboard").unwrap_or_default().to_owned();
                let peer = peer.map(|Peer(address): Peer| SocketAddr::ip(&address));
                async move {
                    let is_playground = path.split('/').nth(1) == Some("playground");
                    let bytes_max = if is_playground { PLAYGROUND_BYTES_MAX } else { FORM_BYTES_MAX };
                    let (body, _room) = match read(body, bytes_max, body_timeout).await {
                        Ok(body) => body,
                        Err(status) => return plain(status),
                    };
                    from_answer(dashboard.answer(Call { method, path, query, headers, body, peer }).await)
                }
            },
        )
        .with(measure::dashboard())
        .map(into_response)
        .boxed()
}

/// The pages on a listener of their own, with what they show and link to: files, and explanations of errors.
pub fn dashboard_routes(dashboard: Arc<Dashboard>, api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let nowhere = warp::any().map(|| plain(http::StatusCode::NOT_FOUND));
    routes(dashboard, api.body_timeout)
        .or(files::routes(api))
        .unify()
        .or(docs::routes())
        .unify()
        .or(nowhere)
        .unify()
        .map(|mut response: Response| {
            super::reply::set(&mut response, "x-content-type-options", "nosniff");
            response
        })
        .boxed()
}

async fn read(
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    bytes_max: usize,
    limit: Duration,
) -> Result<(Vec<u8>, body::Room), http::StatusCode> {
    body::read(body, bytes_max, limit).await.map_err(|problem| match problem.code {
        Code::RequestBodyTooLarge => http::StatusCode::PAYLOAD_TOO_LARGE,
        _ => http::StatusCode::BAD_REQUEST,
    })
}

fn plain(status: http::StatusCode) -> Response {
    let mut response = Response::new(status.canonical_reason().unwrap_or_default().into());
    *response.status_mut() = status;
    super::reply::set(&mut response, "content-type", "text/plain; charset=utf-8");
    response
}

fn from_answer(answer: Answer) -> Response {
    answer.map(|body| body.into())
}
