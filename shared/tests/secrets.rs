//! What a caller says in confidence is in no `Debug`, from the first byte read to the options that a render gets.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use serde_json::json;
use snaphook_shared::options::model::Options;
use snaphook_shared::request::{Endpoint, Method, Policies, RawRequest};
use snaphook_shared::target::NativeUrlParser;

const ACCESS_KEY: &str = "AKhush0";

fn options() -> serde_json::Value {
    json!({
        "access_key": ACCESS_KEY, "url": "https://example.com/", "authorization": "Bearer hush1",
        "headers": ["X-Token: hush2"], "cookies": ["session=hush3; Secure"], "proxy": "http://user:hush4@proxy.example:3128",
        "store": true, "storage_path": "a", "storage_bucket": "b", "storage_access_key_id": "id",
        "storage_secret_access_key": "hush5",
    })
}

fn raw(method: Method, query: &str, body: Vec<u8>) -> RawRequest {
    RawRequest {
        endpoint: Endpoint::Take,
        method,
        query: query.to_owned(),
        access_key_header: Some(ACCESS_KEY.to_owned()),
        idempotency_key: Some("hush6".to_owned()),
        priority: None,
        body,
    }
}

/// Both ways in which `Debug` is written, which must have the one and not the other.
fn shown(what: &dyn Debug, must_have: &str) {
    for text in [format!("{what:?}"), format!("{what:#?}")] {
        assert!(text.contains(must_have), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn a_request_shows_none_of_its_secrets_on_its_way() {
    let given = options();
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs = given.as_object().unwrap().iter().map(|(name, value)| {
        let text = value.as_array().map_or(value, |list| &list[0]);
        format!("{name}={}", encode(text.as_str().unwrap_or("true")))
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    for raw in
        [raw(Method::Post, "access_key=AKhush0", given.to_string().into_bytes()), raw(Method::Get, &query, Vec::new())]
    {
        shown(&raw, "Take");
        let read = raw.read().unwrap();
        shown(&read, "Take");
        let checked = read.check(&NativeUrlParser, &Policies::default()).unwrap();
        // It has understood them all, or there would be nothing to hide.
        let network = &checked.options.network;
        assert_eq!(network.authorization.as_ref().unwrap().expose(), "Bearer hush1");
        assert_eq!((network.headers.len(), network.cookies.len(), network.proxy.is_some()), (1, 1, true));
        assert_eq!(checked.options.delivery.store.secret_access_key.as_ref().unwrap().expose(), "hush5");
        shown(&checked, "https://example.com/");
        shown(&checked.options, "https://example.com/");
        // The form that is sealed is another matter: all of it has to be there.
        let kept = serde_json::to_string(&checked.options).unwrap();
        assert!((1..=5).all(|number| kept.contains(&format!("hush{number}"))), "{kept}");
        assert_eq!(serde_json::from_str::<Options>(&kept).unwrap(), checked.options);
    }
}

#[test]
fn the_fields_of_a_body_show_their_names_alone() {
    let fields = snaphook_shared::options::fields::Fields::from_json(options().to_string().as_bytes()).unwrap();
    shown(&fields, "storage_secret_access_key");
}
