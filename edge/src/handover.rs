//! Hands an admitted request to the backend, whose answer is the caller's answer.
//!
//! Never accepts anything by itself: a 202 is the backend's word, or that of the [`crate::outbox`]. A request that the backend
//! may have taken before it fell silent is found again by its id. Never reads the answer's body.

use std::time::Duration;

use snaphook_shared::code::{Code, Problem};
use snaphook_shared::envelope::{Envelope, REQUESTS_PATH, SealedBody};
use snaphook_shared::request::RawRequest;
use snaphook_shared::trace;
use web_sys::{AbortSignal, Response};

use crate::backend::{self, Asked, AskedHead, Away, Limit};
use crate::bindings::Bindings;
use crate::platform;

/// Of the time that a waiting caller has, what is left for the backend to make a job of a render that is not ready.
const TURNOVER: Duration = Duration::from_secs(1);
/// One commit at the backend.
const ASYNCHRONOUS_LIMIT: Duration = Duration::from_secs(10);

/// What the edge knows of a request besides what `shared` has read.
pub(crate) struct Arrival<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) received_at_ms: u64,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) traceparent: Option<&'a str>,
}

/// Wraps a request for the backend.
///
/// # Errors
/// `request_not_valid` for a body that is no UTF-8. JSON always is, so none that was read gets here.
pub(crate) fn wrap(raw: &RawRequest, access_key: &str, arrival: Arrival<'_>) -> Result<Envelope, Problem> {
    let body = str::from_utf8(&raw.body)
        .map_err(|_| Problem::with_detail(Code::RequestNotValid, "", "the body is not valid UTF-8"))?;
    Ok(Envelope {
        request_id: arrival.request_id.to_owned(),
        received_at_ms: arrival.received_at_ms,
        access_key: access_key.to_owned(),
        method: raw.method.name().to_owned(),
        path: raw.endpoint.path().to_owned(),
        query: raw.query.clone(),
        content_type: arrival.content_type.map(str::to_owned),
        idempotency_key: raw.idempotency_key.clone(),
        priority: raw.priority.clone(),
        traceparent: arrival.traceparent.filter(|text| trace::parts(text).is_some()).map(str::to_owned),
        wait_ms: None,
        body: body.to_owned(),
    })
}

/// How long the backend may take for its answer: a file that somebody waits for, or the word that it was accepted.
pub(crate) fn limit<'a>(bindings: &Bindings, waiting: Option<&'a AbortSignal>) -> Limit<'a> {
    match waiting {
        Some(caller) => Limit::Head(bindings.sync_wait, Some(caller)),
        None => Limit::Whole(ASYNCHRONOUS_LIMIT),
    }
}

/// How long the backend may render before the request becomes a job.
pub(crate) fn wait_ms(bindings: &Bindings) -> u64 {
    u64::try_from(bindings.sync_wait.saturating_sub(TURNOVER).as_millis()).unwrap_or(u64::MAX)
}

/// Posts an envelope under a seal, whose nonce is never used twice, and gives back the backend's answer, of whatever status.
///
/// # Errors
/// [`Away`].
pub(crate) async fn post(bindings: &Bindings, json: &str, nonce: &str, limit: Limit<'_>) -> Result<Response, Away> {
    let body = json.as_bytes();
    let sealed = if (body.len() as u64) < bindings.hashed_by_platform_bytes {
        SealedBody::Bytes(body)
    } else {
        SealedBody::Sha256(platform::sha256(body).await?)
    };
    let seal = backend::sealed(bindings, "POST", REQUESTS_PATH, sealed, nonce);
    let head = AskedHead::Sealed(&seal);
    let asked = Asked { method: "POST", path_and_query: REQUESTS_PATH, head, body: Some(body), limit };
    backend::ask(bindings, asked).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use snaphook_shared::request::{Endpoint, Method};

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn wrapped(traceparent: &str, body: &[u8]) -> Result<Envelope, Problem> {
        let raw = RawRequest {
            endpoint: Endpoint::Take,
            method: Method::Post,
            query: "a=%20+b".to_owned(),
            access_key_header: None,
            idempotency_key: Some("once".to_owned()),
            priority: Some("u=1".to_owned()),
            body: body.to_vec(),
        };
        let arrival = Arrival {
            request_id: "req_1",
            received_at_ms: 7,
            content_type: Some("application/json"),
            traceparent: Some(traceparent),
        };
        wrap(&raw, "key", arrival)
    }

    #[test]
    fn the_envelope_holds_the_request_as_it_came() {
        let envelope = wrapped(TRACE, "{\"url\":\"ä\"}".as_bytes()).unwrap();
        assert_eq!((envelope.method.as_str(), envelope.path.as_str()), ("POST", "/take"));
        assert_eq!((envelope.query.as_str(), envelope.body.as_str()), ("a=%20+b", "{\"url\":\"ä\"}"));
        assert_eq!((envelope.request_id.as_str(), envelope.received_at_ms), ("req_1", 7));
        assert_eq!((envelope.access_key.as_str(), envelope.idempotency_key.as_deref()), ("key", Some("once")));
        assert_eq!((envelope.traceparent.as_deref(), envelope.priority.as_deref()), (Some(TRACE), Some("u=1")));
        assert_eq!(wrapped(TRACE, b"\xff").unwrap_err().code, Code::RequestNotValid);
    }

    #[test]
    fn only_trace_contexts_are_passed_on() {
        for text in ["", &TRACE.to_uppercase(), &TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))] {
            assert_eq!(wrapped(text, b"").unwrap().traceparent, None, "{text}");
        }
    }
}
