//! The way to the backend: one fetch, its time limit, and whether it was the backend that answered.
//!
//! Never takes the answer of something in between (a tunnel's error page, a proxy's 404) for the backend's: whatever
//! does not name the request in the header that the backend always sets counts as the backend being away.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use js_sys::Array;
use snaphook_shared::dialect::REQUEST_ID;
use snaphook_shared::envelope;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, AbortSignal, Headers, RequestCache, RequestInit, RequestRedirect, Response};
use worker::Delay;

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

/// Fetches a path (and query) of the backend and waits for the head of the answer; its body may take any time. With the
/// signal of a caller, it ends when they go away.
///
/// # Errors
/// [`Away`].
pub(crate) async fn fetch(
    bindings: &Bindings,
    path_and_query: &str,
    init: &RequestInit,
    limit: Duration,
    caller: Option<&AbortSignal>,
) -> Result<Response, Away> {
    let unreachable = |error: JsValue| Away::Unreachable(platform::message(&error));
    let abort = AbortController::new().map_err(unreachable)?;
    let signal = match caller {
        // Whoever goes away ends the work that was done for them alone.
        Some(caller) => AbortSignal::any(&Array::of2(caller, &abort.signal())),
        None => abort.signal(),
    };
    init.set_signal(Some(&signal));
    // What may be kept, and for how long, is `files`' to say: a cache of the platform would keep more.
    init.set_cache(RequestCache::NoStore);
    // A redirect is an answer like any other: following it could lead a sealed request elsewhere.
    init.set_redirect(RequestRedirect::Manual);

    let url = format!("{}{path_and_query}", bindings.backend_origin);
    let fetching = platform::global().fetch_with_str_and_init(&url, init);
    let answer = within(limit, JsFuture::from(fetching)).await;
    let Some(answer) = answer else {
        abort.abort();
        return Err(Away::TooSlow(limit));
    };
    let response: Response = answer.map_err(unreachable)?.unchecked_into();
    match response.headers().has(REQUEST_ID) {
        Ok(true) => Ok(response),
        _ => Err(Away::Unmarked(response.status())),
    }
}

/// The headers that seal a request to the backend.
///
/// # Errors
/// The platform's, for a value that no header can hold.
pub(crate) fn sealed(
    bindings: &Bindings,
    method: &str,
    path: &str,
    body: &[u8],
    now_ms: u64,
    nonce: &str,
) -> Result<Headers, JsValue> {
    let headers = Headers::new()?;
    let now = now_ms / 1000;
    for (name, value) in envelope::seal(&bindings.secret, &bindings.key_id, method, path, "", body, now, nonce) {
        headers.set(name, &value)?;
    }
    Ok(headers)
}

/// The output of `future`, or None when the time is up first. The timer ends with it.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = pin!(Delay::from(limit));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(context).map(|()| None),
    })
    .await
}
