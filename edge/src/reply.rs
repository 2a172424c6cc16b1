//! The answers that leave the Worker: the edge's own, and the backend's.
//!
//! Never shapes an error (`shared` does), and never touches the bytes of the backend's: they stream from socket to
//! socket without passing through this code.

use snaphook_shared::dialect::{REQUEST_ID, Reply};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Headers, Response, ResponseInit};

/// Any page may call the API: a key is given by who calls, and no cookie ever stands for one.
const ALLOW_ORIGIN: (&str, &str) = ("access-control-allow-origin", "*");
const EXPOSE_HEADERS: (&str, &str) = ("access-control-expose-headers", "*");

/// An answer of the edge itself.
///
/// # Errors
/// The platform's.
pub(crate) fn own(reply: &Reply, request_id: Option<&str>) -> Result<Response, JsValue> {
    let mut headers = vec![ALLOW_ORIGIN, EXPOSE_HEADERS, ("x-content-type-options", "nosniff")];
    headers.extend(reply.headers.iter().map(|(name, value)| (*name, value.as_str())));
    headers.extend(request_id.map(|id| (REQUEST_ID, id)));
    respond(reply.status, Some(&reply.body).filter(|body| !body.is_empty()).map(String::as_str), &headers)
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
    for (name, value) in [ALLOW_ORIGIN, EXPOSE_HEADERS] {
        headers.set(name, value)?;
    }
    Ok(copy)
}

/// What a page learns before it calls.
///
/// # Errors
/// The platform's.
pub(crate) fn preflight() -> Result<Response, JsValue> {
    let headers = [
        ALLOW_ORIGIN,
        ("access-control-allow-methods", "GET, HEAD, POST, PATCH, DELETE"),
        ("access-control-allow-headers", "content-type, idempotency-key, if-none-match, range, x-access-key"),
        ("access-control-max-age", "86400"),
    ];
    respond(204, None, &headers)
}

fn respond(status: u16, body: Option<&str>, fields: &[(&str, &str)]) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in fields {
        headers.set(name, value)?;
    }
    let init = ResponseInit::new();
    init.set_status(status);
    init.set_headers(&headers);
    Response::new_with_opt_str_and_init(body, &init)
}
