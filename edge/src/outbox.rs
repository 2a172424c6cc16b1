//! The durable way to a backend that is away: a Queue between this Worker and itself.
//!
//! An asynchronous request is answered 202 once the Queue has acknowledged it, and never before. The consumer hands it over
//! with the id it was answered with, which the backend knows again, so that a message that comes twice is rendered once.
//! Nothing is thrown away unsaid:
//!
//! - The backend is away, full, or the key has used what it may for now: tried again, with growing pauses (about four days
//!   with the hundred retries a Queue allows), then it goes to the dead-letter queue. Never sooner than the backend has said.
//! - From there it is tried once more and put into R2 under `undelivered/`, where [`sweep`], by the clock, tries it again for
//!   as long as it is there. Without R2 it stays in the dead-letter queue for as long as that keeps messages.
//! - The backend refuses it for good (the key was revoked meanwhile, an address it does not allow): kept in R2 under
//!   `refused/`, and logged with the code.
//!
//! A request with an idempotency key is not kept. Whether there is one of that key already, under which id, and whether it is
//! the same, is known to the backend alone; and its caller can ask again without a risk.

use js_sys::{Array, JsString};
use snaphook_shared::envelope::Envelope;
use snaphook_shared::json::Json;
use wasm_bindgen::{JsCast, JsValue};
use worker::Env;

use crate::bindings::Bindings;
use crate::services::{self, Bucket, Message, StoredObject};
use crate::{handover, platform};

/// A message may have 128 KB; the rest is the Queue's own.
const MESSAGE_BYTES_MAX: usize = 120_000;
/// The dead-letter queue is told by its name.
const DEAD: &str = "-dead";
const WAITING: &str = "outbox/";
const UNDELIVERED: &str = "undelivered/";
const REFUSED: &str = "refused/";
const PAUSE_SECONDS_MAX: u32 = 3600;
/// The longest pause there is, for a message that has nowhere else to stay.
const PARKED_SECONDS: u32 = 43_200;
/// How many parked requests one run of the clock tries.
const SWEEP_MAX: u32 = 200;
/// Holds the name of the last one that it tried, or nothing where there were no more: the next run begins behind it, so that
/// those in front cannot hold up the others for ever.
const SWEPT: &str = "swept";

/// Keeps an envelope, of which `json` is the text, durably. False when it is one to be asked for again, when there is nothing
/// to keep it in, or that has failed: then nothing is promised.
pub(crate) async fn keep(env: &Env, envelope: &Envelope, json: String) -> bool {
    if envelope.idempotency_key.is_some() {
        return false;
    }
    let Some(queue) = services::outbox(env) else { return false };
    let kept = async {
        let message = if json.len() <= MESSAGE_BYTES_MAX {
            json
        } else {
            let Some(bucket) = services::bodies(env) else { return Ok(false) };
            let name = [WAITING, envelope.request_id.as_str()].concat();
            bucket.put_object(&name, &json).await?;
            name
        };
        let sent = queue.send(&message, &services::options(&[("contentType", "text".into())])).await;
        if sent.is_err() {
            // Nobody would ever come for what it names.
            forget(env, &message).await;
        }
        sent.map(|_| true)
    };
    kept.await.unwrap_or_else(|error: JsValue| {
        platform::log(format_args!("{}: the outbox failed: {}", envelope.request_id, platform::message(&error)));
        false
    })
}

/// Hands over one message of the queue that is named, or puts it off.
pub(crate) async fn consume(bindings: &Bindings, env: &Env, message: &Message, queue: &str) {
    let dead = queue.ends_with(DEAD);
    let text = message.body().dyn_ref::<JsString>().map(String::from).unwrap_or_default();
    let attempts = message.attempts();
    let done = match load(env, &text).await {
        Err(error) => Err(error.into()),
        // The object was removed when this message was handed over before, and could not be acknowledged.
        Ok(None) => Ok(()),
        Ok(Some(json)) => hand_over(bindings, env, &json, attempts, dead).await,
    };
    match done {
        Ok(()) => {
            forget(env, &text).await;
            message.ack();
        }
        Err(Later { cause, seconds }) => {
            let seconds = if dead { PARKED_SECONDS } else { pause_seconds(attempts, seconds.unwrap_or(0)) };
            platform::log(format_args!("a request in the outbox is tried again in {seconds} s: {cause}"));
            message.retry(&services::options(&[("delaySeconds", seconds.into())]));
        }
    }
}

/// 2 s, 4 s, … an hour; or as long as was asked for, if that is longer and no more than an hour.
fn pause_seconds(attempts: u32, asked_for: u64) -> u32 {
    let asked_for = u32::try_from(asked_for).unwrap_or(PAUSE_SECONDS_MAX);
    2_u32.saturating_pow(attempts.clamp(1, 12)).max(asked_for).min(PAUSE_SECONDS_MAX)
}

/// The envelope of a message, which may be only the name of an object that holds it; None if that is gone.
async fn load(env: &Env, text: &str) -> Result<Option<String>, JsValue> {
    if !text.starts_with(WAITING) {
        return Ok(Some(text.to_owned()));
    }
    let bucket = services::bodies(env).ok_or_else(|| JsValue::from_str("BODIES is no longer bound"))?;
    read(&bucket, text).await
}

async fn read(bucket: &Bucket, name: &str) -> Result<Option<String>, JsValue> {
    let found = bucket.get_object(name).await?;
    if !found.is_object() {
        return Ok(None);
    }
    Ok(found.unchecked_into::<StoredObject>().text().await?.as_string())
}

async fn forget(env: &Env, text: &str) {
    if let (true, Some(bucket)) = (text.starts_with(WAITING), services::bodies(env)) {
        // One that stays is harmless, but for its room.
        let _ = bucket.delete_object(text).await;
    }
}

/// What became of an envelope at the backend.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Accepted,
    /// For good.
    Refused,
    /// Not before so many seconds are over, if the backend says so; 0 where it does not.
    Later(u64),
}

/// Why a message is not done with.
struct Later {
    cause: String,
    /// How many seconds the backend asks to wait at least. None where it has not even answered: then it is not this request
    /// that has to wait, but all of them.
    seconds: Option<u64>,
}

impl From<JsValue> for Later {
    fn from(error: JsValue) -> Later {
        Later { cause: platform::message(&error), seconds: None }
    }
}

async fn hand_over(bindings: &Bindings, env: &Env, json: &str, attempts: u32, dead: bool) -> Result<(), Later> {
    let Some(id) = request_id(json) else {
        platform::log(format_args!("a message in the outbox is no envelope: {} bytes", json.len()));
        return Ok(());
    };
    let bucket = services::bodies(env);
    let Err(later) = deliver(bindings, bucket.as_ref(), &id, json, attempts).await else { return Ok(()) };
    let Some(bucket) = bucket.filter(|_| dead) else {
        return Err(Later { cause: [id.as_str(), ": ", &later.cause].concat(), ..later });
    };
    platform::log(format_args!("{id}: could not be handed over for days, kept under {UNDELIVERED}: {}", later.cause));
    bucket.put_object(&[UNDELIVERED, id.as_str()].concat(), json).await?;
    Ok(())
}

/// Hands an envelope over, and keeps it where it can if it is refused for good: either way it is done with.
async fn deliver(
    bindings: &Bindings,
    bucket: Option<&Bucket>,
    id: &str,
    json: &str,
    attempt: u32,
) -> Result<(), Later> {
    // The number makes the nonce another one each time.
    let nonce = format!("{id}-{attempt}");
    let response = match handover::post(bindings, json, &nonce, handover::limit(bindings, None)).await {
        Ok(response) => response,
        Err(away) => return Err(Later { cause: away.to_string(), seconds: None }),
    };
    let status = response.status();
    let retry_after = response.headers().get("retry-after").ok().flatten();
    match outcome(status, retry_after.as_deref()) {
        Outcome::Accepted => {}
        Outcome::Refused => {
            platform::log(format_args!("{id}: refused by the backend after it was accepted here: status {status}"));
            if let Some(bucket) = bucket {
                bucket.put_object(&[REFUSED, id].concat(), json).await?;
            }
        }
        Outcome::Later(seconds) => return Err(Later { cause: format!("status {status}"), seconds: Some(seconds) }),
    }
    Ok(())
}

/// What an answer of the backend means for a request that was accepted here. The status alone does not tell: one dialect
/// answers limits with 400. What may go well later says when.
fn outcome(status: u16, retry_after: Option<&str>) -> Outcome {
    match status {
        200..=299 => Outcome::Accepted,
        400..=499 if retry_after.is_none() && !matches!(status, 408 | 429) => Outcome::Refused,
        _ => Outcome::Later(retry_after.and_then(|seconds| seconds.parse().ok()).unwrap_or(0)),
    }
}

fn request_id(json: &str) -> Option<String> {
    Some(Json::read(json).ok()?.get("request_id")?.text()?.to_owned())
}

/// Tries again what is kept under `undelivered/`. What the backend puts off stays, and the others are tried all the same.
///
/// # Errors
/// The platform's; what was not reached is there the next time.
pub(crate) async fn sweep(bindings: &Bindings, env: &Env) -> Result<(), JsValue> {
    let Some(bucket) = services::bodies(env) else { return Ok(()) };
    let start = read(&bucket, SWEPT).await?.filter(|name| !name.is_empty());
    let start_after = start.as_deref().unwrap_or(UNDELIVERED);
    let wanted = [("prefix", UNDELIVERED.into()), ("limit", SWEEP_MAX.into()), ("startAfter", start_after.into())];
    let listed = bucket.list(&services::options(&wanted)).await?;
    let objects: Array = services::field(&listed, "objects").unchecked_into();
    let mut last = String::new();
    for object in objects.iter() {
        last = services::field(&object, "key").as_string().unwrap_or_default();
        let Some(json) = read(&bucket, &last).await? else { continue };
        let attempt = u32::try_from(platform::now_ms() / 1000).unwrap_or_default();
        let id = last.strip_prefix(UNDELIVERED).unwrap_or(&last);
        match deliver(bindings, Some(&bucket), id, &json, attempt).await {
            Ok(()) => drop(bucket.delete_object(&last).await?),
            Err(Later { cause, seconds }) => {
                platform::log(format_args!("{id}: still undelivered: {cause}"));
                // It is still away; the others would find it so as well.
                if seconds.is_none() {
                    return Ok(());
                }
            }
        }
    }
    if objects.length() < SWEEP_MAX {
        last.clear();
    }
    if start.is_some() || !last.is_empty() {
        bucket.put_object(SWEPT, &last).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_an_end() {
        let pause = |attempts| pause_seconds(attempts, 0);
        assert_eq!([0, 1, 2, 5, 11, 12, 100].map(pause), [2, 2, 4, 32, 2048, 3600, 3600]);
        let all: u32 = (1..=100).map(pause).sum();
        assert!(all > 3 * 86_400 && all < 4 * 86_400, "{all}");
        // No sooner than was asked for, but for what is asked until the end of a month.
        assert_eq!(
            [(1, 30), (5, 30), (1, 2_000_000)].map(|(attempts, asked)| pause_seconds(attempts, asked)),
            [30, 32, 3600]
        );
    }

    #[test]
    fn what_says_when_is_not_refused_for_good() {
        assert_eq!([outcome(200, None), outcome(202, Some("5"))], [Outcome::Accepted, Outcome::Accepted]);
        // ScreenshotOne's dialect answers both limits with 400.
        assert_eq!(outcome(400, Some("17")), Outcome::Later(17));
        assert_eq!([outcome(429, Some("5")), outcome(503, Some("5"))], [Outcome::Later(5), Outcome::Later(5)]);
        for (status, retry_after) in
            [(408, None), (429, None), (500, None), (400, Some("Thu, 01 Jan 2026 00:00:00 GMT"))]
        {
            assert_eq!(outcome(status, retry_after), Outcome::Later(0), "{status}");
        }
        for status in [400, 401, 404, 413, 422] {
            assert_eq!(outcome(status, None), Outcome::Refused, "{status}");
        }
    }

    #[test]
    fn an_envelope_is_known_by_its_id() {
        assert_eq!(request_id("{\"request_id\":\"req_1\",\"x\":[1]}").as_deref(), Some("req_1"));
        for junk in ["", "{}", "[]", "outbox/req_1", "\u{0}"] {
            assert_eq!(request_id(junk), None, "{junk}");
        }
    }
}
