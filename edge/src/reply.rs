//! The answers that leave the Worker: the edge's own, and the backend's.
//!
//! Never shapes an error (`shared` does), and never touches the bytes of the backend's: they stream from socket to
//! socket without passing through this code.

use snaphook_shared::dialect::{CORS, REQUEST_ID, Reply};
use wasm_bindgen::JsValue;
use web_sys::Response;

use crate::platform;

/// An answer of the edge itself.
///
/// # Errors
/// The platform's.
pub(crate) fn own(reply: &Reply, request_id: &str) -> Result<Response, JsValue> {
    let common = CORS.into_iter().chain([("x-content-type-options", "nosniff"), (REQUEST_ID, request_id)]);
    let own = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    platform::answer(reply.status, &platform::headers(common.chain(own)), &reply.body)
}

/// The backend's answer from the cache: it answers this request, whichever it was made for.
///
/// # Errors
/// The platform's.
pub(crate) fn relay_cached(response: &Response, request_id: &str) -> Result<Response, JsValue> {
    platform::relay(response, &platform::headers(CORS.into_iter().chain([(REQUEST_ID, request_id)])))
}
