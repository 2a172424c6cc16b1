//! Stored files through the cache of the Worker's location.
//!
//! A file never outlives its expiry here, and one that was removed before that outlives it by
//! [`Bindings::file_cache_seconds`] at most: no entry is kept for longer than the smaller of the two. Whole files are kept,
//! and the cache cuts ranges out of them by itself.

use wasm_bindgen::JsCast;
use web_sys::{Cache, Response};

use crate::bindings::Bindings;
use crate::gate::Address;
use crate::platform::Arrived;
use crate::services::Context;
use crate::{Failure, forward, platform, reply, services};

/// A copy for the cache waits in memory for whichever of the two readers is slower.
const CACHED_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// A request with one of these asks for less than the whole file.
const PARTIAL: [&str; 2] = ["range", "if-none-match"];

pub(crate) async fn serve(
    bindings: &Bindings,
    context: &Context,
    arrived: &Arrived,
    address: Address<'_>,
    request_id: &str,
) -> Result<Response, Failure> {
    let cache = services::cache().filter(|_| arrived.method() == "GET" && bindings.file_cache_seconds > 0);
    let key = [address.origin, address.path].concat();
    if let Some(cache) = &cache
        && let Some(hit) = find(cache, &key, arrived).await
    {
        return Ok(reply::relay_cached(&hit, request_id)?);
    }
    let response = forward(bindings, arrived, address, None).await?;
    let whole = PARTIAL.iter().all(|name| arrived.header(name).is_none());
    if let Some(cache) = cache.filter(|_| whole)
        && let Some(seconds) = cacheable_seconds(bindings, &response)
    {
        // Its readers are told the shorter time.
        let time = platform::headers([("cache-control", format!("public, max-age={seconds}").as_str())]);
        let copy = platform::relay(&response.clone()?, &time)?;
        // What is not kept is asked for again.
        platform::afterwards(context, &cache.put_with_str(&key, &copy), "the cache could not be written");
    }
    Ok(response)
}

/// A cache that fails is one that has nothing.
async fn find(cache: &Cache, key: &str, arrived: &Arrived) -> Option<Response> {
    // `If-Range` names a file of another content; the backend knows.
    if arrived.header("if-range").is_some() {
        return None;
    }
    let asked = PARTIAL.into_iter().filter_map(|name| Some((name, arrived.header(name)?)));
    let found = platform::look_up(cache, key, &platform::headers(asked)).await.ok()?;
    let found: Response = found.is_object().then(|| found.unchecked_into())?;
    // A range that is not in the file is refused by the cache without the file's own headers.
    (found.status() != 416).then_some(found)
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
