//! Finds the record of an access key: in the isolate's memory, else in Workers KV if that is bound, else at the backend.
//!
//! Never judges a record; `shared` does, with the request at hand. Never remembers anything but the backend's own word
//! (200 or 404), so that an outage locks nobody out, and never believes it for longer than [`Bindings::key_fresh_ms`] after
//! it was given, through whatever layers it came. What the backend accepts is bound by nothing of this: it looks for itself.
//!
//! Older records in KV are used when the backend is away, and for [`OLDER_MS`] after it was found to be, so that not each
//! request waits for it in vain. They let in and never refuse: a request that they let in goes to the outbox, and the backend
//! looks again when it gets there. Unknown keys are remembered in memory alone, since whoever makes keys up
//! must not make us pay for writing them down.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use snaphook_shared::envelope::{KEYS_PATH, SealedBody};
use snaphook_shared::json::Json;
use snaphook_shared::key::KeyRecord;
use wasm_bindgen::JsCast;
use worker::Env;

use crate::backend::{self, Asked, AskedHead, Away, Limit};
use crate::bindings::Bindings;
use crate::executor::{Promised, apart};
use crate::platform;
use crate::services::{self, Context, Kv};

/// How long an isolate remembers what it was told about a key.
const TTL_MS: u64 = 30_000;
/// How long an isolate goes by a record that is too old, once the backend was found to be away.
const OLDER_MS: u64 = 5_000;
/// How long KV keeps a record for an outage.
const KEPT_SECONDS: u32 = 7 * 86_400;
const KV_PREFIX: &str = "key:";
/// Keys held of each kind. Unknown ones have their own room: whoever makes keys up must not push out the real ones.
const KEYS_MAX: usize = 1024;
const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);

/// What is known of a key.
#[derive(Clone)]
pub(crate) struct Found {
    /// What the backend has said; None for a key that it does not know.
    pub(crate) record: Option<Rc<KeyRecord>>,
    /// Why there is only a record that is too old to be believed. It may let somebody in, and may refuse nobody.
    pub(crate) older: Option<Away>,
}

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
) -> Result<Found, Away> {
    if let Some(found) = MEMORY.with_borrow(|memory| memory.get(access_key, platform::now_ms())) {
        return Ok(found);
    }
    apart(look_up(bindings, env, context, access_key, nonce)).await
}

/// The record of a key that the isolate does not remember, as [`find`].
async fn look_up(
    bindings: &Bindings,
    env: &Env,
    context: &Context,
    access_key: &str,
    nonce: &str,
) -> Result<Found, Away> {
    let kv = services::keys(env);
    let kept = match &kv {
        Some(kv) => read_kept(kv, access_key).await,
        None => None,
    };
    let now_ms = platform::now_ms();
    if let Some(kept) = kept.as_ref().filter(|kept| kept.fresh_until_ms(bindings) > now_ms) {
        let until_ms = now_ms.saturating_add(TTL_MS).min(kept.fresh_until_ms(bindings));
        return Ok(remember(access_key, Some(Rc::clone(&kept.record)), None, now_ms, until_ms));
    }
    let told = match (ask_backend(bindings, access_key, nonce).await, &kept) {
        (Ok(told), _) => told,
        (Err(away), Some(kept)) => {
            platform::log(format_args!("an older record of a key is used: {away}"));
            // Finding that out may have taken a while.
            let now_ms = platform::now_ms();
            let until_ms = now_ms.saturating_add(OLDER_MS);
            return Ok(remember(access_key, Some(Rc::clone(&kept.record)), Some(away), now_ms, until_ms));
        }
        (Err(away), None) => return Err(away),
    };
    let record = told.as_ref().map(|told| Rc::clone(&told.record));
    let until_ms = now_ms.saturating_add(TTL_MS.min(bindings.key_fresh_ms));
    let found = remember(access_key, record, None, now_ms, until_ms);
    if let Some(kv) = kv {
        let name = [KV_PREFIX, access_key].concat();
        let written = match (told, kept.is_some()) {
            (Some(told), _) => {
                let lifetime = services::options(&[("expirationTtl", KEPT_SECONDS.into())]);
                Some(kv.put(&name, &Kept::write(now_ms, &told.json), &lifetime))
            }
            (None, true) => Some(kv.delete(&name)),
            (None, false) => None,
        };
        if let Some(written) = written {
            // A record that was not kept is asked for again.
            platform::afterwards(context, &written, "KEYS could not be written");
        }
    }
    Ok(found)
}

fn remember(access_key: &str, record: Option<Rc<KeyRecord>>, older: Option<Away>, now_ms: u64, until_ms: u64) -> Found {
    let found = Found { record, older };
    MEMORY.with_borrow_mut(|memory| memory.put(access_key, found.clone(), now_ms, until_ms));
    found
}

/// A record as it is kept in KV, with the time at which the backend was asked.
struct Kept {
    asked_at_ms: u64,
    record: Rc<KeyRecord>,
}

impl Kept {
    fn write(asked_at_ms: u64, record: &str) -> String {
        format!("{{\"asked_at_ms\":{asked_at_ms},\"record\":{record}}}")
    }

    fn read(text: &str) -> Option<Kept> {
        let json = Json::read(text).ok()?;
        let record = Rc::new(KeyRecord::from_json(json.get("record")?)?);
        Some(Kept { asked_at_ms: json.get("asked_at_ms")?.whole_number()?, record })
    }

    fn fresh_until_ms(&self, bindings: &Bindings) -> u64 {
        self.asked_at_ms.saturating_add(bindings.key_fresh_ms)
    }
}

/// A KV that fails is one that has nothing.
async fn read_kept(kv: &Kv, access_key: &str) -> Option<Kept> {
    let text = kv.get(&[KV_PREFIX, access_key].concat()).await.ok()?.as_string()?;
    Kept::read(&text).filter(|kept| kept.record.access_key == access_key)
}

/// The backend's word on a key: its record, and the text that it stood in.
struct Told {
    record: Rc<KeyRecord>,
    json: String,
}

async fn ask_backend(bindings: &Bindings, access_key: &str, nonce: &str) -> Result<Option<Told>, Away> {
    let path = [KEYS_PATH, access_key].concat();
    let seal = backend::sealed(bindings, "GET", &path, SealedBody::Bytes(b""), nonce);
    let (head, limit) = (AskedHead::Sealed(&seal), Limit::Whole(LOOK_UP_LIMIT));
    let asked = Asked { method: "GET", path_and_query: &path, head, body: None, limit };
    let response = backend::ask(bindings, asked).await?;
    match response.status() {
        200 => {
            let json = response.text()?.unchecked_into::<Promised>().await?.as_string().unwrap_or_default();
            let record = Json::read(&json).ok().and_then(|json| KeyRecord::from_json(&json));
            let record = record.filter(|record| record.access_key == access_key).ok_or(Away::Unexpected(200))?;
            Ok(Some(Told { record: Rc::new(record), json }))
        }
        404 => Ok(None),
        status => Err(Away::Unexpected(status)),
    }
}

/// What an isolate remembers of keys, and until when.
#[derive(Default)]
struct Memory {
    known: Entries,
    unknown: Entries,
}

type Entries = HashMap<String, (u64, Found)>;

impl Memory {
    fn get(&self, access_key: &str, now_ms: u64) -> Option<Found> {
        let fresh = |entries: &Entries| {
            let (until, found) = entries.get(access_key)?;
            (now_ms < *until).then(|| found.clone())
        };
        fresh(&self.known).or_else(|| fresh(&self.unknown))
    }

    fn put(&mut self, access_key: &str, found: Found, now_ms: u64, until: u64) {
        self.known.remove(access_key);
        self.unknown.remove(access_key);
        let entries = if found.record.is_some() { &mut self.known } else { &mut self.unknown };
        // The bound: first whatever is over goes, then whatever would be over next.
        if entries.len() >= KEYS_MAX {
            entries.retain(|_, (until, _)| now_ms < *until);
        }
        if entries.len() >= KEYS_MAX {
            let oldest = entries.iter().min_by_key(|(_, (until, _))| *until).map(|(access_key, _)| access_key.clone());
            oldest.map(|access_key| entries.remove(&access_key));
        }
        entries.insert(access_key.to_owned(), (until, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snaphook_shared::secret::Secret;

    fn record(access_key: &str) -> Option<Rc<KeyRecord>> {
        Some(Rc::new(KeyRecord {
            access_key: access_key.to_owned(),
            secret_key: Secret::new("secret"),
            previous_secrets: Vec::new(),
            require_signed: false,
            limits: Default::default(),
            revoked: false,
        }))
    }

    fn put(memory: &mut Memory, access_key: &str, record: Option<Rc<KeyRecord>>, now_ms: u64) {
        memory.put(access_key, Found { record, older: None }, now_ms, now_ms + TTL_MS);
    }

    fn is_known(memory: &Memory, access_key: &str, now_ms: u64) -> Option<bool> {
        memory.get(access_key, now_ms).map(|found| found.record.is_some())
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
    fn a_record_is_kept_with_the_time_of_asking() {
        let kept = Kept::read(&Kept::write(7, r#"{"access_key":"k","secret_key":"s"}"#)).unwrap();
        assert_eq!((kept.asked_at_ms, kept.record.access_key.as_str()), (7, "k"));
        for text in ["", "{}", "{\"asked_at_ms\":7}", "{\"asked_at_ms\":7,\"record\":{}}"] {
            assert!(Kept::read(text).is_none(), "{text}");
        }
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
