//! A rehearsal at the start of an isolate: V8 compiles a function when it is called first, and the start has an allowance of its
//! own where a request has ten milliseconds.
//!
//! Never asks for what only a request may have (the network, random numbers, an answer), and leaves nothing behind: neither settings nor
//! keys of a real request are ever these.

use std::hint::black_box;

use snaphook_shared::dialect::{self, Dialect};
use snaphook_shared::envelope::{REQUESTS_PATH, SealedBody};
use snaphook_shared::id::request_id;
use snaphook_shared::json::Json;
use snaphook_shared::key::KeyRecord;
use snaphook_shared::request::{Head, RawRequest};

use crate::backend;
use crate::bindings::Bindings;
use crate::gate::{self, Address, Route};
use crate::handover::{self, Arrival};
use crate::platform::PlatformUrlParser;

const URL: &str = "https://edge.invalid/take?access_key=key&url=https%3A%2F%2Fpage.example.com%2F&async=true&format=png\
                   &viewport_width=1280&signature=0000000000000000000000000000000000000000000000000000000000000000";
const RECORD: &str =
    r#"{"access_key":"key","secret_key":"secret","previous_secrets":[],"require_signed":false,"revoked":false}"#;

/// Takes a request from its head to what would be sent, and refuses it. None where that did not get to its end.
pub(crate) fn rehearse() -> Option<()> {
    let setting = |name: &str| match name {
        "BACKEND_URL" => Some("https://backend.invalid".to_owned()),
        "EDGE_SECRET" => Some("key-id:secret".to_owned()),
        _ => None,
    };
    let urls = PlatformUrlParser::default();
    let bindings = Bindings::read(&setting, &urls).ok()?;
    let record = KeyRecord::from_json(&Json::read(RECORD).ok()?)?;
    let request_id = request_id(0, [0; 10]);
    let Address { path, query, .. } = Address::cut(URL);
    let head = Head { method: "GET", path, query, content_type: None, content_length: None };
    let Ok(Route::Render(endpoint, method)) = gate::route(head) else { return None };
    let raw = RawRequest {
        endpoint,
        method,
        query: query.to_owned(),
        access_key_header: None,
        idempotency_key: None,
        priority: None,
        body: Vec::new(),
    };
    let read = raw.read().ok()?;
    let refused = read.authenticate(Some(&record), 0).err()?;
    let arrival = Arrival { request_id: &request_id, received_at_ms: 0, content_type: None, traceparent: None };
    let json = handover::wrap(read.raw(), read.access_key(), arrival).ok()?.to_json();
    read.check(&urls, &bindings.policies).ok()?;
    // Kept from the compiler, which would leave out what nobody uses.
    black_box(backend::sealed(&bindings, "POST", REQUESTS_PATH, SealedBody::Bytes(json.as_bytes()), &request_id));
    black_box(dialect::error(Dialect::ScreenshotOne, &refused, ""));
    Some(())
}
