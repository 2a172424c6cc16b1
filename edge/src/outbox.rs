//! The durable way to a backend that is away: a Queue between this Worker and itself.
//!
//! An asynchronous request is answered 202 once the Queue has acknowledged it, and never before. The consumer hands it over
//! with the id it was answered with, which the backend knows again, so that a message that comes twice is rendered once.
//! Nothing is thrown away unsaid:
//!
//! - The backend is away, full, or the key has used what it may for now: tried again, with growing pauses (about four days
//!   with the hundred retries a Queue allows), then it goes to the dead-letter queue.
//! - From there it is tried once more and put into R2 under `undelivered/`, where [`sweep`], by the clock, tries it again for
//!   as long as it is there. Without R2 it stays in the dead-letter queue for as long as that keeps messages.
//! - The backend refuses it for good (the key was revoked meanwhile, an address it does not allow): kept in R2 under
//!   `refused/`, and logged with the code.

use js_sys::{Array, JsString, Promise, Reflect};
use snaphook_shared::envelope::Envelope;
use snaphook_shared::json::Json;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::{Env, console_error};

use crate::bindings::Bindings;
use crate::services::{self, Batch, Bucket, Message, StoredObject};
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
const SWEEP_MAX: f64 = 200.0;

/// Keeps an envelope durably; None when there is no Queue to keep it in.
///
/// # Errors
/// The platform's: then nothing is promised.
pub(crate) async fn keep(env: &Env, envelope: &Envelope) -> Result<Option<()>, JsValue> {
    let Some(queue) = services::outbox(env) else { return Ok(None) };
    let json = envelope.to_json();
    let message = if json.len() <= MESSAGE_BYTES_MAX {
        json
    } else {
        let Some(bucket) = services::bodies(env) else { return Ok(None) };
        let name = format!("{WAITING}{}", envelope.request_id);
        bucket.put_object(&name, &json).await?;
        name
    };
    queue.send(&message, &services::options(&[("contentType", "text".into())])).await?;
    Ok(Some(()))
}

/// Hands over a batch. Every message is answered, whatever happens to its neighbours.
pub(crate) async fn consume(bindings: &Bindings, env: &Env, batch: &Batch) {
    let dead = batch.queue().ends_with(DEAD);
    let work: Array = batch
        .messages()
        .iter()
        .map(|message| {
            let (bindings, env, message) = (bindings.clone(), env.clone(), message.unchecked_into::<Message>());
            JsValue::from(platform::promise(async move {
                consume_one(&bindings, &env, &message, dead).await;
                Ok(JsValue::UNDEFINED)
            }))
        })
        .collect();
    // None of them fails.
    let _ = JsFuture::from(Promise::all(&work)).await;
}

async fn consume_one(bindings: &Bindings, env: &Env, message: &Message, dead: bool) {
    let text = message.body().dyn_ref::<JsString>().map(String::from).unwrap_or_default();
    let attempts = message.attempts();
    let done = match load(env, &text).await {
        Err(error) => Err(error),
        // The object was removed when this message was handed over before, and could not be acknowledged.
        Ok(None) => Ok(()),
        Ok(Some(json)) => hand_over(bindings, env, &json, attempts, dead).await,
    };
    match done {
        Ok(()) => {
            forget(env, &text).await;
            message.ack();
        }
        Err(cause) => {
            let seconds = if dead { PARKED_SECONDS } else { pause_seconds(attempts) };
            console_error!("a request in the outbox is tried again in {seconds} s: {}", platform::message(&cause));
            message.retry(&services::options(&[("delaySeconds", seconds.into())]));
        }
    }
}

/// 2 s, 4 s, … an hour.
fn pause_seconds(attempts: u32) -> u32 {
    2_u32.saturating_pow(attempts.clamp(1, 12)).min(PAUSE_SECONDS_MAX)
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
enum Outcome {
    Accepted,
    /// For good.
    Refused(u16),
    Later(String),
}

async fn hand_over(bindings: &Bindings, env: &Env, json: &str, attempts: u32, dead: bool) -> Result<(), JsValue> {
    let Some(id) = request_id(json) else {
        console_error!("a message in the outbox is no envelope: {} bytes", json.len());
        return Ok(());
    };
    let bucket = services::bodies(env);
    match post(bindings, &id, json, attempts).await {
        Outcome::Accepted => Ok(()),
        Outcome::Refused(status) => {
            console_error!("{id}: refused by the backend after it was accepted here: status {status}");
            match bucket {
                Some(bucket) => bucket.put_object(&format!("{REFUSED}{id}"), json).await.map(|_| ()),
                None => Ok(()),
            }
        }
        Outcome::Later(cause) => match bucket.filter(|_| dead) {
            Some(bucket) => {
                console_error!("{id}: could not be handed over for days, kept under {UNDELIVERED}: {cause}");
                bucket.put_object(&format!("{UNDELIVERED}{id}"), json).await.map(|_| ())
            }
            None => Err(JsValue::from_str(&format!("{id}: {cause}"))),
        },
    }
}

async fn post(bindings: &Bindings, id: &str, json: &str, attempts: u32) -> Outcome {
    let nonce = format!("{id}-{attempts}");
    let answer = handover::post(bindings, json, &nonce, handover::limit(bindings, None)).await;
    match answer.map(|response| response.status()) {
        Ok(200..=299) => Outcome::Accepted,
        Ok(status @ (400..=499)) if !matches!(status, 408 | 429) => Outcome::Refused(status),
        Ok(status) => Outcome::Later(format!("status {status}")),
        Err(away) => Outcome::Later(away.to_string()),
    }
}

fn request_id(json: &str) -> Option<String> {
    Some(Json::read(json).ok()?.get("request_id")?.text()?.to_owned())
}

/// Tries again what is kept under `undelivered/`.
///
/// # Errors
/// The platform's; what was not reached is there the next time.
pub(crate) async fn sweep(bindings: &Bindings, env: &Env) -> Result<(), JsValue> {
    let Some(bucket) = services::bodies(env) else { return Ok(()) };
    let wanted = services::options(&[("prefix", UNDELIVERED.into()), ("limit", SWEEP_MAX.into())]);
    let listed = bucket.list(&wanted).await?;
    let objects: Array = Reflect::get(&listed, &"objects".into())?.unchecked_into();
    for object in objects.iter() {
        let Some(name) = Reflect::get(&object, &"key".into())?.as_string() else { continue };
        let Some(json) = read(&bucket, &name).await? else { continue };
        // The clock's seconds make the nonce another one each time.
        let attempt = u32::try_from(platform::now_ms() / 1000).unwrap_or_default();
        let id = name.strip_prefix(UNDELIVERED).unwrap_or(&name);
        match post(bindings, id, &json, attempt).await {
            Outcome::Accepted => {}
            Outcome::Refused(status) => {
                console_error!("{id}: refused by the backend after it was accepted here: status {status}");
                bucket.put_object(&format!("{REFUSED}{id}"), &json).await?;
            }
            // It is still away; the others would find it so as well.
            Outcome::Later(cause) => {
                console_error!("{id}: still undelivered: {cause}");
                return Ok(());
            }
        }
        bucket.delete_object(&name).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_an_end() {
        assert_eq!([0, 1, 2, 5, 11, 12, 100].map(pause_seconds), [2, 2, 4, 32, 2048, 3600, 3600]);
        let all: u32 = (1..=100).map(pause_seconds).sum();
        assert!(all > 3 * 86_400 && all < 4 * 86_400, "{all}");
    }

    #[test]
    fn an_envelope_is_known_by_its_id() {
        assert_eq!(request_id("{\"request_id\":\"req_1\",\"x\":[1]}").as_deref(), Some("req_1"));
        for junk in ["", "{}", "[]", "outbox/req_1", "\u{0}"] {
            assert_eq!(request_id(junk), None, "{junk}");
        }
    }
}
