//! Finds the record of an access key: in the isolate's memory, else in Workers KV if that is bound, else at the backend.
//!
//! Never judges a record; `shared` does, with the request at hand. Never remembers anything but the backend's own word
//! (200 or 404), so that an outage locks nobody out, and never believes it for longer than [`Bindings::key_fresh_ms`] after
//! it was given, through whatever layers it came. What the backend accepts is bound by nothing of this: it looks for itself.
//!
//! Older records in KV are used when the backend is away, and only then: a request that they let in goes to the outbox, and
//! the backend looks again when it gets there. Unknown keys are remembered in memory alone, since whoever makes keys up
//! must not make us pay for writing them down.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use snaphook_shared::envelope::KEYS_PATH;
use snaphook_shared::key::KeyRecord;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response};
use worker::{Context, Env, console_error};

use crate::backend::{self, Away};
use crate::bindings::Bindings;
use crate::platform;
use crate::services::{self, Kv};

/// How long an isolate remembers what it was told about a key.
const TTL_MS: u64 = 30_000;
/// How long KV keeps a record for an outage.
const KEPT_SECONDS: u32 = 7 * 86_400;
const KV_PREFIX: &str = "key:";
/// Keys held of each kind. Unknown ones have their own room: whoever makes keys up must not push out the real ones.
const KEYS_MAX: usize = 1024;
const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);

/// What the backend says of a key; None for one that it does not know.
pub(crate) type Known = Option<Rc<KeyRecord>>;

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::default());
}

/// The record of a key. `nonce` goes into the seal of the look-up.
///
/// # Errors
/// [`Away`] when the backend would have to be asked and cannot be: that tells nothing about the key.
pub(crate) async fn find(
    bindings: &Bindings,
    env: &Env,
    context: &Context,
    access_key: &str,
    nonce: &str,
) -> Result<Known, Away> {
    if let Some(known) = MEMORY.with_borrow(|memory| memory.get(access_key, platform::now_ms())) {
        return Ok(known);
    }
    let kv = services::keys(env);
    let kept = match &kv {
        Some(kv) => read_kept(kv, access_key).await,
        None => None,
    };
    let now_ms = platform::now_ms();
    if let Some(kept) = kept.as_ref().filter(|kept| kept.fresh_until_ms(bindings) > now_ms) {
        let until_ms = now_ms.saturating_add(TTL_MS).min(kept.fresh_until_ms(bindings));
        let known = Some(Rc::clone(&kept.record));
        MEMORY.with_borrow_mut(|memory| memory.put(access_key, known.clone(), now_ms, until_ms));
        return Ok(known);
    }
    let known = match (ask_backend(bindings, access_key, nonce).await, &kept) {
        (Ok(known), _) => known,
        (Err(away), Some(kept)) => {
            console_error!("an older record of a key is used: {away}");
            return Ok(Some(Rc::clone(&kept.record)));
        }
        (Err(away), None) => return Err(away),
    };
    let until_ms = now_ms.saturating_add(TTL_MS.min(bindings.key_fresh_ms));
    MEMORY.with_borrow_mut(|memory| memory.put(access_key, known.clone(), now_ms, until_ms));
    if let Some(kv) = kv {
        let name = format!("{KV_PREFIX}{access_key}");
        let written = match (&known, kept.is_some()) {
            (Some(record), _) => {
                let json = serde_json::to_string(&Kept { asked_at_ms: now_ms, record: Rc::clone(record) });
                let lifetime = services::options(&[("expirationTtl", KEPT_SECONDS.into())]);
                json.ok().map(|json| kv.put(&name, &json, &lifetime))
            }
            (None, true) => Some(kv.delete(&name)),
            (None, false) => None,
        };
        if let Some(written) = written {
            // Nobody's work hangs on it: a record that was not kept is asked for again.
            context.wait_until(async move {
                if let Err(error) = JsFuture::from(written).await {
                    console_error!("KEYS could not be written: {}", platform::message(&error));
                }
            });
        }
    }
    Ok(known)
}

/// A record as it is kept in KV, with the time at which the backend was asked.
#[derive(Serialize, Deserialize)]
struct Kept {
    asked_at_ms: u64,
    record: Rc<KeyRecord>,
}

impl Kept {
    fn fresh_until_ms(&self, bindings: &Bindings) -> u64 {
        self.asked_at_ms.saturating_add(bindings.key_fresh_ms)
    }
}

/// A KV that fails is one that has nothing.
async fn read_kept(kv: &Kv, access_key: &str) -> Option<Kept> {
    let text = kv.get(&format!("{KV_PREFIX}{access_key}")).await.ok()?.as_string()?;
    serde_json::from_str::<Kept>(&text).ok().filter(|kept| kept.record.access_key == access_key)
}

async fn ask_backend(bindings: &Bindings, access_key: &str, nonce: &str) -> Result<Known, Away> {
    let unreachable = |error: JsValue| Away::Unreachable(platform::message(&error));
    let path = format!("{KEYS_PATH}{access_key}");
    let init = RequestInit::new();
    init.set_method("GET");
    let headers = backend::sealed(bindings, "GET", &path, b"", platform::now_ms(), nonce).map_err(unreachable)?;
    init.set_headers(&headers);
    let response = backend::fetch(bindings, &path, &init, LOOK_UP_LIMIT, None).await?;
    match response.status() {
        200 => {
            let text = backend::within(LOOK_UP_LIMIT, read_text(&response)).await;
            let text = text.ok_or(Away::TooSlow(LOOK_UP_LIMIT))?.map_err(unreachable)?;
            let record: KeyRecord = serde_json::from_str(&text).map_err(|_| Away::Unexpected(200))?;
            if record.access_key != access_key {
                return Err(Away::Unexpected(200));
            }
            Ok(Some(Rc::new(record)))
        }
        404 => Ok(None),
        status => Err(Away::Unexpected(status)),
    }
}

async fn read_text(response: &Response) -> Result<String, JsValue> {
    let text = JsFuture::from(response.text()?).await?;
    Ok(text.as_string().unwrap_or_default())
}

/// What an isolate remembers of keys.
#[derive(Default)]
struct Memory {
    known: HashMap<String, (u64, Rc<KeyRecord>)>,
    unknown: HashMap<String, (u64, ())>,
}

impl Memory {
    fn get(&self, access_key: &str, now_ms: u64) -> Option<Known> {
        if let Some((until, record)) = self.known.get(access_key)
            && now_ms < *until
        {
            return Some(Some(Rc::clone(record)));
        }
        self.unknown.get(access_key).is_some_and(|(until, ())| now_ms < *until).then_some(None)
    }

    fn put(&mut self, access_key: &str, known: Known, now_ms: u64, until: u64) {
        self.known.remove(access_key);
        self.unknown.remove(access_key);
        match known {
            Some(record) => insert(&mut self.known, access_key, (until, record), now_ms),
            None => insert(&mut self.unknown, access_key, (until, ()), now_ms),
        }
    }
}

/// Inserts, and keeps the bound: first whatever is over goes, then whatever would be over next.
fn insert<T>(entries: &mut HashMap<String, (u64, T)>, access_key: &str, entry: (u64, T), now_ms: u64) {
    if entries.len() >= KEYS_MAX {
        entries.retain(|_, (until, _)| now_ms < *until);
    }
    if entries.len() >= KEYS_MAX {
        let oldest = entries.iter().min_by_key(|(_, (until, _))| *until).map(|(access_key, _)| access_key.clone());
        oldest.map(|access_key| entries.remove(&access_key));
    }
    entries.insert(access_key.to_owned(), entry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use snaphook_shared::signing::SecretKey;

    fn record(access_key: &str) -> Known {
        Some(Rc::new(KeyRecord {
            access_key: access_key.to_owned(),
            secret_key: SecretKey::new("secret"),
            previous_secrets: Vec::new(),
            require_signed: false,
            limits: Default::default(),
            revoked: false,
        }))
    }

    fn put(memory: &mut Memory, access_key: &str, known: Known, now_ms: u64) {
        memory.put(access_key, known, now_ms, now_ms + TTL_MS);
    }

    fn is_known(memory: &Memory, access_key: &str, now_ms: u64) -> Option<bool> {
        memory.get(access_key, now_ms).map(|known| known.is_some())
    }

    #[test]
    fn both_answers_are_remembered_and_forgotten() {
        let mut memory = Memory::default();
        put(&mut memory, "real", record("real"), 1_000);
        put(&mut memory, "junk", None, 1_000);
        assert_eq!(is_known(&memory, "real", 1_000 + TTL_MS - 1), Some(true));
        assert_eq!(is_known(&memory, "junk", 1_000 + TTL_MS - 1), Some(false));
        assert_eq!(is_known(&memory, "real", 1_000 + TTL_MS), None);
        assert_eq!(is_known(&memory, "junk", 1_000 + TTL_MS), None);
        assert_eq!(is_known(&memory, "other", 1_000), None);
    }

    #[test]
    fn the_last_answer_counts() {
        let mut memory = Memory::default();
        put(&mut memory, "key", None, 0);
        put(&mut memory, "key", record("key"), 1);
        assert_eq!(is_known(&memory, "key", 2), Some(true));
        put(&mut memory, "key", None, 3);
        assert_eq!(is_known(&memory, "key", 4), Some(false));
    }

    #[test]
    fn memory_is_bounded_and_invented_keys_push_out_no_real_one() {
        let mut memory = Memory::default();
        put(&mut memory, "real", record("real"), 0);
        for n in 0..3 * KEYS_MAX as u64 {
            put(&mut memory, &format!("junk{n}"), None, 1 + n % 100);
        }
        assert_eq!(memory.unknown.len(), KEYS_MAX);
        assert_eq!(is_known(&memory, "real", 200), Some(true));
        for n in 0..=KEYS_MAX as u64 {
            put(&mut memory, &format!("key{n}"), record("key"), 1 + n);
        }
        assert_eq!(memory.known.len(), KEYS_MAX);
        assert_eq!(is_known(&memory, "real", 200), None, "the oldest goes first");
        assert_eq!(is_known(&memory, &format!("key{KEYS_MAX}"), 2_000), Some(true));
    }
}
