//! `GET /files/<hash>.<extension>`: stored files, until their time is over. The name is the permission.

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::dialect::Dialect;
use sync_wrapper::SyncStream;
use warp::Filter;
use warp::filters::BoxedFilter;

use super::{Api, Response, into_response, reply, with};
use crate::domain::job::StoredFile;

pub(super) fn routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let readable = warp::get().or(warp::head()).unify();
    warp::path!("files" / String)
        .and(readable)
        .and(with(api))
        .and(warp::header::headers_cloned())
        .then(|name: String, api: Arc<Api>, headers: HeaderMap| async move {
            let served = serve(&api, &name, &headers).await;
            served.unwrap_or_else(|problem| reply::problem(Dialect::Native, &problem, &api.links))
        })
        .boxed()
}

async fn serve(api: &Api, name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let found = api.queue.file(name).await.map_err(|error| {
        tracing::error!(%error, "a file could not be looked up");
        Problem::unavailable()
    })?;
    let file = found.ok_or_else(|| Problem::new(Code::NotFound))?;
    let now_ms = api.clock.now_ms();
    if file.expires_ms <= now_ms {
        return Err(Problem::new(Code::Gone));
    }
    // A file never changes under its name, so the name says all that a tag has to.
    let etag = format!("\"{}\"", file.name.split('.').next().unwrap_or_default());
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut response = if text("if-none-match").is_some_and(|tags| tags == "*" || tags.contains(&etag)) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let fresh = text("if-range").is_none_or(|tag| tag == etag);
        let range = text("range").filter(|_| fresh).map_or(Wanted::All, |range| wanted(range, file.bytes));
        body(api, &file, range).await?
    };
    reply::set(&mut response, "etag", &etag);
    reply::set(&mut response, "accept-ranges", "bytes");
    let seconds_left = (file.expires_ms - now_ms) / 1000;
    reply::set(&mut response, "cache-control", &format!("public, max-age={seconds_left}, immutable"));
    reply::set(&mut response, "content-security-policy", "default-src 'none'; sandbox");
    if let Some(name) = &file.attachment {
        reply::set(&mut response, "content-disposition", &reply::attachment(name));
    }
    Ok(response)
}

#[derive(Debug, PartialEq)]
enum Wanted {
    All,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Reads a `Range` header of one part; what is no such thing is ignored, as RFC 9110 wants it.
fn wanted(header: &str, length: u64) -> Wanted {
    let parts =
        header.strip_prefix("bytes=").filter(|parts| !parts.contains(',')).and_then(|parts| parts.split_once('-'));
    let Some((first, last)) = parts else { return Wanted::All };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..(last.saturating_add(1)).min(length),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..length,
        (Err(_), Ok(suffix)) if first.trim().is_empty() => length.saturating_sub(suffix)..length,
        _ => return Wanted::All,
    };
    if range.is_empty() { Wanted::Unsatisfiable } else { Wanted::Part(range) }
}

async fn body(api: &Api, file: &StoredFile, wanted: Wanted) -> Result<Response, Problem> {
    let range = match wanted {
        Wanted::Unsatisfiable => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            reply::set(&mut response, "content-range", &format!("bytes */{}", file.bytes));
            return Ok(response);
        }
        Wanted::Part(range) => Some(range),
        Wanted::All => None,
    };
    let stream = api.store.get(&file.name, range.clone()).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Problem::new(Code::Gone),
        _ => {
            tracing::error!(%error, "a file could not be read");
            Problem::unavailable()
        }
    })?;
    let mut response = into_response(warp::reply::stream(SyncStream::new(stream)));
    let length = match range {
        Some(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = range.end.saturating_sub(1);
            reply::set(&mut response, "content-range", &format!("bytes {}-{last}/{}", range.start, file.bytes));
            range.end - range.start
        }
        None => file.bytes,
    };
    reply::set(&mut response, "content-length", &length.to_string());
    reply::set(&mut response, "content-type", &file.content_type);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, wanted};

    #[test]
    fn ranges() {
        assert_eq!(wanted("bytes=0-9", 100), Wanted::Part(0..10));
        assert_eq!(wanted("bytes=90-", 100), Wanted::Part(90..100));
        assert_eq!(wanted("bytes=-10", 100), Wanted::Part(90..100));
        assert_eq!(wanted("bytes=0-999", 100), Wanted::Part(0..100));
        assert_eq!(wanted("bytes=100-", 100), Wanted::Unsatisfiable);
        assert_eq!(wanted("bytes=5-1", 100), Wanted::All);
        assert_eq!(wanted("lines=1-2", 100), Wanted::All);
        assert_eq!(wanted("bytes=0-1,4-5", 100), Wanted::All);
    }
}
