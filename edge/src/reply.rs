//! The answers that leave the Worker: the edge's own, and the backend's.
//!
//! Never shapes an error (`shared` does), and never touches the bytes of the backend's: they stream from socket to
//! socket without passing through this code.

use snaphook_shared::dialect::{CORS, REQUEST_ID, Reply};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Headers, Response, ResponseInit};

/// An answer of the edge itself.
///
/// # Errors
/// The platform's.
pub(crate) fn own(reply: &Reply, request_id: &str) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    let common = CORS.into_iter().chain([("x-content-type-options", "nosniff"), (REQUEST_ID, request_id)]);
    for (name, value) in common.chain(reply.headers.iter().map(|(name, value)| (*name, value.as_str()))) {
        headers.set(name, value)?;
    }
    let init = ResponseInit::new();
    init.set_status(reply.status);
    init.set_headers(&headers);
    let body = Some(reply.body.as_str()).filter(|body| !body.is_empty());
    Response::new_with_opt_str_and_init(body, &init)
}

/// The backend's answer, with the one header that lets a page read it.
///
/// # Errors
/// The platform's.
pub(crate) fn relay(response: &Response) -> Result<Response, JsValue> {
    // A response is a valid description of another one: same status, same headers. A fetched one cannot be changed.
    let init: &ResponseInit = response.unchecked_ref();
    let copy = Response::new_with_opt_readable_stream_and_init(response.body().as_ref(), init)?;
    let headers = copy.headers();
    for (name, value) in CORS {
        headers.set(name, value)?;
    }
    Ok(copy)
}
