//! Stored files through the cache of the Worker's location.
//!
//! A file never outlives its expiry here, and one that was removed before that outlives it by
//! [`Bindings::file_cache_seconds`] at most: no entry is kept for longer than the smaller of the two. Whole files are kept,
//! and the cache cuts ranges out of them by itself.

use std::rc::Rc;

use snaphook_shared::dialect::REQUEST_ID;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Cache, Headers, Request, RequestInit, Response, ResponseInit};
use worker::Context;

use crate::bindings::Bindings;
use crate::gate::Address;
use crate::{Failure, forward, reply, services};

/// A copy for the cache waits in memory for whichever of the two readers is slower.
const CACHED_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// A request with one of these asks for less than the whole file.
const PARTIAL: [&str; 3] = ["range", "if-none-match", "if-modified-since"];

pub(crate) async fn serve(
    bindings: &Bindings,
    context: &Context,
    method: &str,
    address: Address<'_>,
    headers: &Headers,
    request_id: &str,
) -> Result<Response, Failure> {
    let cache = services::cache().filter(|_| method == "GET" && bindings.file_cache_seconds > 0);
    let Some(cache) = cache else { return forward(bindings, method, address, headers, None).await };
    let key = format!("{}{}", address.origin, address.path);
    if let Some(hit) = find(&cache, &key, headers).await {
        let response = reply::relay(&hit)?;
        response.headers().set(REQUEST_ID, request_id)?;
        return Ok(response);
    }
    let response = forward(bindings, method, address, headers, None).await?;
    let whole = PARTIAL.iter().all(|name| !headers.has(name).unwrap_or(true));
    if let (true, Some(seconds)) = (whole, cacheable_seconds(bindings, &response)) {
        let copy = for_cache(&response.clone()?, seconds)?;
        let cache = Rc::new(cache);
        // Nobody's work hangs on it: what is not kept is asked for again.
        context.wait_until(async move {
            let _ = JsFuture::from(cache.put_with_str(&key, &copy)).await;
        });
    }
    Ok(response)
}

/// A cache that fails is one that has nothing.
async fn find(cache: &Cache, key: &str, headers: &Headers) -> Option<Response> {
    let init = RequestInit::new();
    let asked = Headers::new().ok()?;
    for name in PARTIAL {
        if let Ok(Some(value)) = headers.get(name) {
            asked.set(name, &value).ok()?;
        }
    }
    // `If-Range` names a file of another content; the backend knows.
    if headers.has("if-range").unwrap_or(true) {
        return None;
    }
    init.set_headers(&asked);
    let request = Request::new_with_str_and_init(key, &init).ok()?;
    let found = JsFuture::from(cache.match_with_request(&request)).await.ok()?;
    found.is_object().then(|| found.unchecked_into())
}

/// For how long an answer may be kept; None for one that may not.
fn cacheable_seconds(bindings: &Bindings, response: &Response) -> Option<u64> {
    let header = |name: &str| response.headers().get(name).ok().flatten();
    let length: u64 = header("content-length")?.parse().ok()?;
    if response.status() != 200 || length > CACHED_BYTES_MAX {
        return None;
    }
    let seconds = max_age(&header("cache-control")?)?.min(bindings.file_cache_seconds);
    (seconds > 0).then_some(seconds)
}

fn max_age(cache_control: &str) -> Option<u64> {
    cache_control.split(',').find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok())
}

/// The copy that is kept; its readers are told the shorter time.
fn for_cache(response: &Response, seconds: u64) -> Result<Response, JsValue> {
    let init: &ResponseInit = response.unchecked_ref();
    let copy = Response::new_with_opt_readable_stream_and_init(response.body().as_ref(), init)?;
    copy.headers().set("cache-control", &format!("public, max-age={seconds}"))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::max_age;

    #[test]
    fn the_time_of_an_answer_is_read() {
        assert_eq!(max_age("public, max-age=604800, immutable"), Some(604_800));
        assert_eq!(max_age("max-age=0"), Some(0));
        for none in ["", "no-store", "max-age=x", "s-maxage=5"] {
            assert_eq!(max_age(none), None, "{none}");
        }
    }
}
