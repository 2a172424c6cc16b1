//! A queue on the disk, and what goes into it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use snaphook::domain::job::NewRequest;
use snaphook::domain::operator::{NewKey, Operator};
use snaphook::queue::secrets::RootKey;
use snaphook::queue::sqlite::SqliteQueue;
use snaphook_shared::id::request_id;
use snaphook_shared::options::model::Options;
use snaphook_shared::request::Endpoint;

pub(super) const KEY: &str = "bench";
/// More than any run accepts.
pub(super) const CAPACITY: u64 = 10_000_000;

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

pub(super) async fn open(folder: &Path, name: &str) -> SqliteQueue {
    let root_key = RootKey::load("", folder).expect("a root key");
    let queue = SqliteQueue::open(&folder.join(name), root_key, CAPACITY).expect("a database");
    queue.add_key(NewKey::unlimited(KEY, "a secret for a benchmark"), now_ms()).await.expect("a key");
    queue
}

/// What a caller of `/v1/screenshot` with an address and a webhook leaves in the queue.
pub(super) fn request() -> NewRequest {
    request_of(KEY)
}

pub(super) fn request_of(key: &str) -> NewRequest {
    let mut random = [0; 10];
    getrandom::fill(&mut random).expect("the system has randomness");
    let mut options = Options::default();
    options.source.url = Some("https://example.com/some/page?with=a&query".to_owned());
    options.delivery.asynchronous = true;
    options.delivery.webhook.url = Some("https://hooks.example.com/snaphook".to_owned());
    NewRequest {
        id: request_id(now_ms(), random),
        access_key: key.to_owned(),
        endpoint: Endpoint::Screenshot,
        options,
        idempotency_key: None,
        urgency: Default::default(),
        fingerprint: "0123456789abcdef0123456789abcdef".to_owned(),
        created_ms: now_ms(),
        traceparent: None,
    }
}
