//! The way to the backend: one fetch, its time limit, and whether it was the backend that answered.
//!
//! Never takes the answer of something in between (a tunnel's error page, a proxy's 404) for the backend's: whatever
//! does not name the request in the header that the backend always sets counts as the backend being away.

use std::time::Duration;

use snaphook_shared::dialect::REQUEST_ID;
use snaphook_shared::envelope::{Seal, SealedBody};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{AbortSignal, Response};

use crate::bindings::Bindings;
use crate::platform;

/// Why the backend counts as away. For the operator's log; callers read the same 503 for all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Away {
    #[error("the backend cannot be reached: {0}")]
    Unreachable(String),
    #[error("the backend did not answer within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// A refused seal may look like this too: the backend need not vouch to a stranger.
    #[error(
        "status {0} came without `{REQUEST_ID}`: not from the backend, or it refused the seal (EDGE_SECRET, clocks)"
    )]
    Unmarked(u16),
    #[error("the backend answered the look-up of a key with status {0} and something unexpected")]
    Unexpected(u16),
}

impl From<JsValue> for Away {
    fn from(error: JsValue) -> Away {
        Away::Unreachable(platform::message(&error))
    }
}

/// What is asked of the backend.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    pub(crate) path_and_query: &'a str,
    pub(crate) head: AskedHead<'a>,
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) limit: Limit<'a>,
}

/// What stands above the body.
#[derive(Clone, Copy)]
pub(crate) enum AskedHead<'a> {
    /// What [`sealed`] made, and that the body is JSON.
    Sealed(&'a str),
    /// Headers as [`platform::headers`] writes them.
    PassedOn(&'a str),
}

/// How long an answer may take.
#[derive(Clone, Copy)]
pub(crate) enum Limit<'a> {
    /// All of it: nobody waits for more than a few lines.
    Whole(Duration),
    /// Its head: the body may take any time. It ends when the caller goes away, if one is named.
    Head(Duration, Option<&'a AbortSignal>),
}

/// Asks, and gives the answer when its head is there, with the headers that let a page of another origin read it.
///
/// # Errors
/// [`Away`].
pub(crate) async fn ask(bindings: &Bindings, asked: Asked<'_>) -> Result<Response, Away> {
    let (head, is_sealed) = match asked.head {
        AskedHead::Sealed(seal) => (seal, true),
        AskedHead::PassedOn(headers) => (headers, false),
    };
    let text = [asked.method, "\n", &bindings.backend_origin, asked.path_and_query, "\n", head].concat();
    let milliseconds = |limit: Duration| limit.as_secs_f64() * 1000.0;
    let (asking, limit) = match asked.limit {
        Limit::Whole(limit) => (platform::exchange(&text, is_sealed, asked.body, milliseconds(limit)), limit),
        Limit::Head(limit, caller) => {
            (platform::open(&text, is_sealed, asked.body, milliseconds(limit), caller), limit)
        }
    };
    let answer = asking.await?;
    if answer.is_undefined() {
        return Err(Away::TooSlow(limit));
    }
    match answer.as_f64() {
        Some(status) => Err(Away::Unmarked(status as u16)),
        None => Ok(answer.unchecked_into()),
    }
}

/// What seals a request to the backend, a line each: time, nonce, id of the key, signature.
pub(crate) fn sealed(bindings: &Bindings, method: &str, path: &str, body: SealedBody<'_>, nonce: &str) -> String {
    let (timestamp, key_id) = (platform::now_ms() / 1000, bindings.key_id.as_str());
    let seal = Seal { method, path, query: "", body, timestamp, nonce, key_id };
    let signature = seal.signature(bindings.secret.expose().as_bytes());
    [&timestamp.to_string(), nonce, key_id, &signature].join("\n")
}
