//! Finds the record of an access key: in the isolate's memory, else at the backend.
//!
//! Never judges a record; `shared` does, with the request at hand. Never remembers anything but the backend's own word
//! (200 or 404), so that an outage locks nobody out, and nothing for longer than [`TTL_MS`], so that a revoked key ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use snaphook_shared::envelope::KEYS_PATH;
use snaphook_shared::key::KeyRecord;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestCache, RequestInit, Response};

use crate::backend::{self, Away};
use crate::bindings::Bindings;
use crate::platform;

/// How long an isolate believes what it was told about a key.
const TTL_MS: u64 = 30_000;
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
pub(crate) async fn find(bindings: &Bindings, access_key: &str, nonce: &str) -> Result<Known, Away> {
    if let Some(known) = MEMORY.with_borrow(|memory| memory.get(access_key, platform::now_ms())) {
        return Ok(known);
    }
    // A KV namespace, once one is bound, belongs between the two: read here, written below.
    let known = ask_backend(bindings, access_key, nonce).await?;
    MEMORY.with_borrow_mut(|memory| memory.put(access_key, known.clone(), platform::now_ms()));
    Ok(known)
}

async fn ask_backend(bindings: &Bindings, access_key: &str, nonce: &str) -> Result<Known, Away> {
    let unreachable = |error: JsValue| Away::Unreachable(platform::message(&error));
    let path = format!("{KEYS_PATH}{access_key}");
    let init = RequestInit::new();
    init.set_method("GET");
    // Records hold secrets: no cache on the way may keep one.
    init.set_cache(RequestCache::NoStore);
    let headers = backend::sealed(bindings, "GET", &path, b"", platform::now_ms(), nonce).map_err(unreachable)?;
    init.set_headers(&headers);
    let response = backend::fetch(bindings, &path, &init, LOOK_UP_LIMIT).await?;
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

    fn put(&mut self, access_key: &str, known: Known, now_ms: u64) {
        self.known.remove(access_key);
        self.unknown.remove(access_key);
        let until = now_ms.saturating_add(TTL_MS);
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

    fn is_known(memory: &Memory, access_key: &str, now_ms: u64) -> Option<bool> {
        memory.get(access_key, now_ms).map(|known| known.is_some())
    }

    #[test]
    fn both_answers_are_remembered_and_forgotten() {
        let mut memory = Memory::default();
        memory.put("real", record("real"), 1_000);
        memory.put("junk", None, 1_000);
        assert_eq!(is_known(&memory, "real", 1_000 + TTL_MS - 1), Some(true));
        assert_eq!(is_known(&memory, "junk", 1_000 + TTL_MS - 1), Some(false));
        assert_eq!(is_known(&memory, "real", 1_000 + TTL_MS), None);
        assert_eq!(is_known(&memory, "junk", 1_000 + TTL_MS), None);
        assert_eq!(is_known(&memory, "other", 1_000), None);
    }

    #[test]
    fn the_last_answer_counts() {
        let mut memory = Memory::default();
        memory.put("key", None, 0);
        memory.put("key", record("key"), 1);
        assert_eq!(is_known(&memory, "key", 2), Some(true));
        memory.put("key", None, 3);
        assert_eq!(is_known(&memory, "key", 4), Some(false));
    }

    #[test]
    fn memory_is_bounded_and_invented_keys_push_out_no_real_one() {
        let mut memory = Memory::default();
        memory.put("real", record("real"), 0);
        for n in 0..3 * KEYS_MAX as u64 {
            memory.put(&format!("junk{n}"), None, 1 + n % 100);
        }
        assert_eq!(memory.unknown.len(), KEYS_MAX);
        assert_eq!(is_known(&memory, "real", 200), Some(true));
        for n in 0..=KEYS_MAX as u64 {
            memory.put(&format!("key{n}"), record("key"), 1 + n);
        }
        assert_eq!(memory.known.len(), KEYS_MAX);
        assert_eq!(is_known(&memory, "real", 200), None, "the oldest goes first");
        assert_eq!(is_known(&memory, &format!("key{KEYS_MAX}"), 2_000), Some(true));
    }
}
