//! What the edge asks of the JavaScript platform: its URL parser, its clock, its random numbers.
//!
//! Never judges; the rules are in `shared`, which takes all three as arguments.

use js_sys::JsString;
use snaphook_shared::target::{ParseUrl, UrlParts};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Url, WorkerGlobalScope};

/// The platform's own WHATWG parser: the `url` crate would bring 79 KB (gzipped) of Unicode tables.
pub(crate) struct PlatformUrlParser;

impl ParseUrl for PlatformUrlParser {
    fn parse(&self, input: &str) -> Option<UrlParts> {
        let url = Url::new(input).ok()?;
        UrlParts::from_platform(
            &url.href(),
            &url.protocol(),
            &url.hostname(),
            &url.port(),
            &url.username(),
            &url.password(),
        )
    }
}

/// Unix milliseconds. A Worker's clock stands still between two waits for the network.
pub(crate) fn now_ms() -> u64 {
    // A cast from a float saturates, so no clock can make it fail.
    js_sys::Date::now() as u64
}

/// Random bytes, fit for secrets.
///
/// # Errors
/// The platform's.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], JsValue> {
    let mut bytes = [0; N];
    global().crypto()?.get_random_values_with_u8_array(&mut bytes)?;
    Ok(bytes)
}

/// The global object, for its `fetch`.
pub(crate) fn global() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// What a JavaScript error says, for the log.
pub(crate) fn message(error: &JsValue) -> String {
    let text = error.dyn_ref::<js_sys::Error>().map(|error| error.message());
    text.or_else(|| error.dyn_ref::<JsString>().cloned())
        .map_or_else(|| "an error without a text".to_owned(), Into::into)
}
