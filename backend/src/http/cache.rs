//! Answers that are given again: to the same key, for the same options, within the time that the first caller set.
//!
//! A hit costs no render, counts for nothing and calls no webhook. What is kept is the whole answer, headers included, so
//! that a hit says all that the render said. Keeping is best effort: where the cache fails, pages are rendered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use http::header::{CACHE_CONTROL, CONTENT_LENGTH};
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use snaphook_shared::code::Problem;
use snaphook_shared::options::model::ResponseType;
use snaphook_shared::request::CheckedRequest;
use sync_wrapper::SyncStream;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::{Api, Response, into_response, reply};
use crate::domain::job::StoredFile;
use crate::domain::ports::CachedAnswer;

/// `hit` or `miss`, where the cache was asked.
const OUTCOME: &str = "x-snaphook-cache";

/// The key under which an answer may be found or kept; None where the cache has no part. A caller's own storage wants the
/// file anew each time, and an answer without a body has nothing to give again.
pub(super) fn key(checked: &CheckedRequest) -> Option<String> {
    let delivery = &checked.options.delivery;
    let takes_part = delivery.cache.enabled
        && !delivery.asynchronous
        && !delivery.store.enabled
        && delivery.response_type != ResponseType::Empty;
    takes_part.then(|| checked.cache_key())
}

/// The kept answer, if there is one and its file is still there.
pub(super) async fn find(api: &Api, key: &str) -> Option<Response> {
    let found = api.queue.cached_answer(key, api.clock.now_ms()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the cache could not be read");
        None
    })?;
    let mut response = match found.body {
        Some(body) => Response::new(body.into()),
        None => {
            let file = api.queue.file(&found.file).await.ok()??;
            let stream = api.store.get(&file.name, None).await.ok()?;
            let mut response = into_response(warp::reply::stream(SyncStream::new(stream)));
            reply::set(&mut response, "content-length", &file.bytes.to_string());
            response
        }
    };
    for (name, value) in found.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    reply::set(&mut response, "cache-control", "no-store");
    reply::set(&mut response, OUTCOME, "hit");
    Some(response)
}

/// Keeps an answer for as long as its request asks, and gives it back.
pub(super) async fn keep(api: &Api, key: String, ttl_s: u32, file: &StoredFile, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let is_json = parts.headers.get("content-type").is_some_and(|value| value == "application/json");
    let (kept_body, body) = match is_json {
        false => (None, body),
        // JSON is made of texts that are in memory already, so that nothing is waited for and nothing can break off.
        true => {
            let bytes = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
            (Some(String::from_utf8_lossy(&bytes).into_owned()), bytes.into())
        }
    };
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let kept = name != CACHE_CONTROL && name != CONTENT_LENGTH;
        kept.then(|| Some((name.to_string(), value.to_str().ok()?.to_owned()))).flatten()
    };
    let answer = CachedAnswer {
        file: file.name.clone(),
        headers: parts.headers.iter().filter_map(text).collect(),
        body: kept_body,
        expires_ms: (api.clock.now_ms() + u64::from(ttl_s) * 1000).min(file.expires_ms),
    };
    if let Err(error) = api.queue.keep_answer(&key, answer).await {
        tracing::warn!(%error, "an answer could not be kept in the cache");
    }
    parts.headers.insert(OUTCOME, HeaderValue::from_static("miss"));
    Response::from_parts(parts, body)
}

/// Renders under way whose answers will be kept: whoever asks for the same waits for the first.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<String, Weak<Slot>>>);

/// How the last render of this key failed, and when.
type Slot = AsyncMutex<Option<(Instant, Problem)>>;

/// The right to render for a key, held by one caller at a time. A caller who goes away passes it on.
pub(super) struct Flight(OwnedMutexGuard<Option<(Instant, Problem)>>);

impl Flights {
    /// Waits for the turn. An error is that of the render that was waited for: it need not be had a second time.
    pub(super) async fn join(&self, key: &str) -> Result<Flight, Problem> {
        let joined = Instant::now();
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|_, slot| slot.strong_count() > 0);
            let slot = slots.get(key).and_then(Weak::upgrade).unwrap_or_default();
            slots.insert(key.to_owned(), Arc::downgrade(&slot));
            slot
        };
        let turn = slot.lock_owned().await;
        match &*turn {
            Some((failed, problem)) if *failed >= joined => Err(problem.clone()),
            _ => Ok(Flight(turn)),
        }
    }
}

impl Flight {
    /// Tells those who wait that it came to nothing.
    pub(super) fn fail(mut self, problem: &Problem) {
        *self.0 = Some((Instant::now(), problem.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use snaphook_shared::code::Code;

    use super::*;

    #[tokio::test]
    async fn one_renders_and_the_others_share_its_failure() {
        let flights = Arc::new(Flights::default());
        let first = flights.join("a").await.ok().unwrap();
        let waiter = tokio::spawn({
            let flights = flights.clone();
            async move { flights.join("a").await.err() }
        });
        assert!(flights.join("b").await.is_ok(), "another key does not wait");
        tokio::time::sleep(Duration::from_millis(20)).await;
        first.fail(&Problem::new(Code::NetworkError));
        assert_eq!(waiter.await.unwrap().unwrap().code, Code::NetworkError);
        assert!(flights.join("a").await.is_ok(), "whoever comes later tries again");
    }

    #[tokio::test]
    async fn a_caller_who_goes_away_passes_the_turn_on() {
        let flights = Flights::default();
        drop(flights.join("a").await.ok().unwrap());
        assert!(flights.join("a").await.is_ok());
        flights.join("b").await.ok().unwrap();
        assert!(flights.0.lock().unwrap().len() <= 2);
    }
}
