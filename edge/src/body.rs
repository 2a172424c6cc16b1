//! Reads a request's body, counting as it arrives.
//!
//! Never holds more than the limit and one chunk, whatever was declared.

use js_sys::Uint8Array;
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::limits::BODY_BYTES_MAX;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{ReadableStreamDefaultReader, Request};

use crate::executor::Promised;
use crate::services;

/// The whole body; empty where there is none.
///
/// # Errors
/// `request_body_too_large`; `request_aborted` when the caller went away.
pub(crate) async fn read(request: &Request) -> Result<Vec<u8>, Problem> {
    let Some(stream) = request.body() else { return Ok(Vec::new()) };
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut body = Vec::new();
    loop {
        let chunk = next_chunk(&reader).await.map_err(|_| Problem::new(Code::RequestAborted))?;
        let Some(chunk) = chunk else { return Ok(body) };
        let start = body.len();
        let end = start.saturating_add(chunk.length() as usize);
        if end > BODY_BYTES_MAX {
            // Nobody waits for the rest; cancelling tells the platform so.
            drop(reader.cancel());
            return Err(Problem::new(Code::RequestBodyTooLarge));
        }
        body.resize(end, 0);
        if let Some(free) = body.get_mut(start..) {
            chunk.copy_to(free);
        }
    }
}

async fn next_chunk(reader: &ReadableStreamDefaultReader) -> Result<Option<Uint8Array>, JsValue> {
    let step = reader.read().unchecked_into::<Promised>().await?;
    if services::field(&step, "done").is_truthy() {
        return Ok(None);
    }
    Ok(Some(services::field(&step, "value").unchecked_into()))
}
