//! What the edge, and nobody else, may ask: take over a request, look up a key. Each call is sealed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures::Stream;
use http::HeaderMap;
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::{Dialect, REQUEST_ID, Reply};
use snaphook_shared::envelope::{self, Envelope, EnvelopeError};
use snaphook_shared::id::is_request_id;
use snaphook_shared::request::{Head, RawRequest, gate};
use snaphook_shared::secret::Secret;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::body::{self, ENVELOPE_BYTES_MAX};
use super::render::Arrival;
use super::{Api, Response, raw_query, render, reply, with};
use crate::trace::{Span, TraceContext};

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let requests = warp::path!("internal" / "v1" / "requests")
        .and(warp::post())
        .and(with(api.clone()))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(take_over);
    let keys = warp::path!("internal" / "v1" / "keys" / String)
        .and(warp::get())
        .and(with(api))
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .then(look_up_key);
    requests.or(keys).unify().boxed()
}

/// The answer is the public one, for the edge to pass on as it is.
async fn take_over(
    api: Arc<Api>,
    query: String,
    headers: HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
) -> Response {
    let (body, _room) = match body::read(body, ENVELOPE_BYTES_MAX, api.body_timeout).await {
        Ok(body) => body,
        Err(problem) => return reply::problem(Dialect::Native, &problem, &api.links),
    };
    if let Err(error) = open(&api, "POST", envelope::REQUESTS_PATH, &query, &body, &headers) {
        return refuse(&api, &error.to_string());
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&body) else {
        return refuse(&api, "an envelope could not be read");
    };
    let head = Head {
        method: &envelope.method,
        path: &envelope.path,
        query: &envelope.query,
        content_type: envelope.content_type.as_deref(),
        content_length: None,
    };
    let dialect = Dialect::of_path(&envelope.path);
    let id = match is_request_id(&envelope.request_id) {
        true => envelope.request_id,
        false => render::new_id(&api),
    };
    match gate(head) {
        Ok((endpoint, method)) => {
            // The edge sends no spans: what it took is told here, from the time that it noted.
            let caller = envelope.traceparent.as_deref().and_then(TraceContext::read);
            let edge = Span::since("edge", caller.as_ref(), envelope.received_at_ms);
            let raw = RawRequest {
                endpoint,
                method,
                query: envelope.query,
                access_key_header: Some(envelope.access_key),
                idempotency_key: envelope.idempotency_key,
                priority: envelope.priority,
                body: envelope.body.into_bytes(),
            };
            // It may have waited for days; that it came in the future no clock can say.
            let at_s = (envelope.received_at_ms / 1000).min(api.clock.now_s());
            let arrival = Arrival { at_s, wait: envelope.wait_ms.map(Duration::from_millis) };
            render::serve_since(&api, raw, id, edge.context(), arrival).await
        }
        Err(problem) => {
            let mut response = reply::problem(dialect, &problem, &api.links);
            reply::set(&mut response, REQUEST_ID, &id);
            response
        }
    }
}

async fn look_up_key(access_key: String, api: Arc<Api>, query: String, headers: HeaderMap) -> Response {
    let path = format!("{}{access_key}", envelope::KEYS_PATH);
    if let Err(error) = open(&api, "GET", &path, &query, b"", &headers) {
        return refuse(&api, &error.to_string());
    }
    match api.queue.key(&access_key).await {
        Ok(Some(record)) => match serde_json::to_string(&record) {
            Ok(json) => reply::from_shared(Reply::json(200, json)),
            Err(error) => refuse(&api, &error.to_string()),
        },
        Ok(None) => reply::problem(Dialect::Native, &Problem::new(Code::NotFound), &api.links),
        Err(error) => {
            tracing::error!(%error, "a key could not be looked up");
            reply::problem(Dialect::Native, &Problem::unavailable(), &api.links)
        }
    }
}

fn open(
    api: &Api,
    method: &str,
    path: &str,
    query: &str,
    body: &[u8],
    headers: &HeaderMap,
) -> Result<(), EnvelopeError> {
    let secrets: Vec<(&str, &Secret)> = api.edge_secrets.iter().map(|(id, secret)| (id.as_str(), secret)).collect();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    envelope::open(&secrets, method, path, query, body, &header, api.clock.now_s())
}

/// Marks an answer to a call that the edge did not seal as it should. It goes out without a request id, so that the edge
/// does not take it for an answer to its caller.
#[derive(Clone)]
pub(super) struct Unsealed;

/// Says nothing of why; the log does.
fn refuse(api: &Api, cause: &str) -> Response {
    tracing::warn!(cause, "an internal call was refused");
    let mut response = reply::problem(Dialect::Native, &Problem::new(Code::NotFound), &api.links);
    *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    response.extensions_mut().insert(Unsealed);
    response
}
