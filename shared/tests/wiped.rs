//! What a caller says in confidence is wiped: no block of memory is given back with a secret in it.
//!
//! The allocator of this test looks into each block that is freed, which is what somebody finds who gets to read the memory
//! of a process later on.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serde_json::json;
use snaphook_shared::json::Json;
use snaphook_shared::key::KeyRecord;
use snaphook_shared::request::{Endpoint, Method, Policies, RawRequest};
use snaphook_shared::target::NativeUrlParser;

const SECRET: &[u8] = b"hush";

thread_local! {
    /// Blocks freed with a secret in them by this thread; None while nobody looks.
    static FOUND: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Looking;

// SAFETY: all is the system's allocator's doing. A block is read within its layout, before it is given back.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, or the rest of a block would be what was in it before.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Ok(Some(found)) = FOUND.try_with(Cell::get) {
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            if bytes.windows(SECRET.len()).any(|window| window == SECRET) {
                FOUND.set(Some(found + 1));
            }
        }
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// Blocks with a secret in them that this frees.
fn freed(work: impl FnOnce()) -> usize {
    FOUND.set(Some(0));
    work();
    FOUND.take().unwrap()
}

/// The whole way of a request: read, proved, checked, told from others, its secrets taken out and put back, and gone.
fn pass(raw: RawRequest, record: &KeyRecord) {
    let read = raw.read().unwrap();
    read.authenticate(Some(record), 0).unwrap();
    let mut checked = read.check(&NativeUrlParser, &Policies::default()).unwrap();
    assert_ne!(checked.fingerprint(), checked.cache_key());
    let secrets = checked.options.take_secrets();
    checked.options.put_secrets(secrets);
    assert_eq!(checked.options.network.cookies.len(), 1);
}

fn raw(method: Method, query: String, body: Vec<u8>) -> RawRequest {
    let (access_key_header, idempotency_key, priority) = (Some("AK".to_owned()), None, None);
    RawRequest { endpoint: Endpoint::Take, method, query, access_key_header, idempotency_key, priority, body }
}

#[test]
fn a_secret_that_is_dropped_as_it_is_would_be_found() {
    assert_eq!(freed(|| drop("hush".to_owned())), 1);
    assert_eq!(freed(|| drop("quiet".to_owned())), 0);
}

#[test]
fn a_request_leaves_none_of_its_secrets_behind() {
    // Not among them: the password in a proxy's address, of which the parser of URLs makes copies of its own.
    let record = KeyRecord::from_json(&Json::read(r#"{"access_key":"AK","secret_key":"SK"}"#).unwrap()).unwrap();
    let body = json!({
        "url": "https://example.com/", "authorization": "Bearer \"hush\" \u{e9}", "headers": ["X-Token: hush"],
        "cookies": ["session=hush; Secure"], "store": true, "storage_path": "a", "storage_bucket": "b", "storage_access_key_id": "id",
        "storage_secret_access_key": "hush",
    });
    let posted = raw(Method::Post, String::new(), body.to_string().into_bytes());
    let query = "url=https%3A%2F%2Fexample.com&authorization=Bearer+hush&headers=X-Token:+hush&cookies=a%3Dhush\
                 &storage_secret_access_key=hush";
    let asked = raw(Method::Get, query.to_owned(), Vec::new());
    assert_eq!(freed(|| pass(posted, &record)), 0);
    assert_eq!(freed(|| pass(asked, &record)), 0);
}
