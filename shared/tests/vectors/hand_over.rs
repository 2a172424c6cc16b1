//! What the edge hands to the backend, and its seal.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use snaphook_shared::envelope::{self, Envelope, EnvelopeError, Seal, SealedBody};
use snaphook_shared::signing::sha256_hex;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::{NOW, flip_hex_digit, lookup, rows, secret, text};

#[test]
fn internal_vectors() {
    let rows = rows("internal");
    assert_eq!(rows.len(), 2);
    // The second vector has no key or body of its own: the first one's key, and nothing.
    let hex_digits = text(&rows[0], "key_hex").as_bytes();
    let key: Vec<u8> =
        hex_digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    for row in &rows {
        let body = row.get("body").and_then(Value::as_str).unwrap_or("");
        let lines: Vec<&str> = text(row, "canonical").split('\n').collect();
        let [version, method, path, query, digest, timestamp, nonce, key_id] = lines[..] else { panic!("{row}") };
        assert_eq!((version, digest), ("v1", sha256_hex(body.as_bytes()).as_str()));
        let timestamp = timestamp.parse().unwrap();
        let bytes = SealedBody::Bytes(body.as_bytes());
        let seal = Seal { method, path, query, body: bytes, timestamp, nonce, key_id };
        let hashed = Seal { body: SealedBody::Sha256(Sha256::digest(body).into()), ..seal };
        assert_eq!(seal.canonical(), hashed.canonical());
        assert_eq!(seal.canonical(), text(row, "canonical"));
        assert_eq!(seal.signature(&key), text(row, "sig"));
        assert!(seal.is_signed_by([key.as_slice()], text(row, "sig")));
        assert!(seal.is_signed_by([b"new".as_slice(), &key], text(row, "sig")));
        assert!(!seal.is_signed_by([b"new".as_slice()], text(row, "sig")));
        assert!(!seal.is_signed_by([key.as_slice()], &flip_hex_digit(text(row, "sig"), 63)));
    }
    assert_eq!(
        rows[0].get("body_sha256").and_then(Value::as_str),
        Some(&*sha256_hex(text(&rows[0], "body").as_bytes()))
    );
}

pub(super) const NONCE: &str = "0192f0c1a2b34c5d8e9f00112233aabb";

#[test]
fn seal_opens_and_every_one_field_change_is_refused() {
    let (new, old) = (secret("edge secret 2"), secret("edge secret 1"));
    let live = [("edge-2", &new), ("edge-1", &old)];
    let path = envelope::REQUESTS_PATH;
    let headers = envelope::seal(&old, "edge-1", "POST", path, "a=1", b"{}", NOW, NONCE);
    let open = |headers: &[(&str, String)], method, path, query, body: &[u8], now| {
        envelope::open(&live, method, path, query, body, &lookup(headers), now)
    };
    let wrong = Err(EnvelopeError::WrongSignature);
    assert_eq!(open(&headers, "POST", path, "a=1", b"{}", NOW), Ok(()));
    assert_eq!(open(&headers, "GET", path, "a=1", b"{}", NOW), wrong);
    assert_eq!(open(&headers, "POST", "/internal/v1/request", "a=1", b"{}", NOW), wrong);
    assert_eq!(open(&headers, "POST", path, "a=2", b"{}", NOW), wrong);
    assert_eq!(open(&headers, "POST", path, "a=1", b"{ }", NOW), wrong);
    assert_eq!(open(&headers, "POST", path, "a=1", b"", NOW), wrong);

    assert_eq!(open(&headers, "POST", path, "a=1", b"{}", NOW + 300), Ok(()));
    assert_eq!(open(&headers, "POST", path, "a=1", b"{}", NOW - 300), Ok(()));
    assert_eq!(open(&headers, "POST", path, "a=1", b"{}", NOW + 301), Err(EnvelopeError::TooOld { seconds: 301 }));
    assert_eq!(open(&headers, "POST", path, "a=1", b"{}", NOW - 301), Err(EnvelopeError::TooNew { seconds: 301 }));

    let nonce_error = Err(EnvelopeError::MalformedHeader(envelope::NONCE_HEADER));
    let timestamp_error = Err(EnvelopeError::MalformedHeader(envelope::TIMESTAMP_HEADER));
    let signature = &headers[3].1;
    for (name, value, expected) in [
        (envelope::TIMESTAMP_HEADER, (NOW + 1).to_string(), wrong.clone()),
        (envelope::TIMESTAMP_HEADER, format!("0{NOW}"), timestamp_error.clone()),
        (envelope::TIMESTAMP_HEADER, format!("+{NOW}"), timestamp_error.clone()),
        (envelope::TIMESTAMP_HEADER, String::new(), timestamp_error),
        (envelope::NONCE_HEADER, NONCE.replace('a', "b"), wrong.clone()),
        (envelope::NONCE_HEADER, "short".to_owned(), nonce_error.clone()),
        (envelope::NONCE_HEADER, "n".repeat(65), nonce_error.clone()),
        (envelope::NONCE_HEADER, format!("{NONCE}\nx"), nonce_error),
        (envelope::KEY_ID_HEADER, "edge-2".to_owned(), wrong.clone()),
        (envelope::KEY_ID_HEADER, "edge-3".to_owned(), Err(EnvelopeError::UnknownKey)),
        (envelope::KEY_ID_HEADER, String::new(), Err(EnvelopeError::MalformedHeader(envelope::KEY_ID_HEADER))),
        (envelope::SIGNATURE_HEADER, flip_hex_digit(signature, 0), wrong.clone()),
        (envelope::SIGNATURE_HEADER, signature[1..].to_owned(), wrong.clone()),
        (envelope::SIGNATURE_HEADER, String::new(), wrong),
    ] {
        let changed: Vec<(&str, String)> =
            headers.iter().map(|(n, v)| (*n, if *n == name { value.clone() } else { v.clone() })).collect();
        assert_eq!(open(&changed, "POST", path, "a=1", b"{}", NOW), expected, "{name}: {value}");
    }
    for missing in 0..4 {
        let mut rest = headers.to_vec();
        let (name, _) = rest.remove(missing);
        assert_eq!(open(&rest, "POST", path, "a=1", b"{}", NOW), Err(EnvelopeError::MissingHeader(name)));
    }
    assert_eq!(envelope::open(&[], "POST", path, "a=1", b"{}", &lookup(&headers), NOW), Err(EnvelopeError::UnknownKey));
}

#[test]
fn seal_fields_cannot_reach_into_the_next_line() {
    let key = secret("edge secret");
    // Both have the same signed text but for where the fields end.
    let headers = envelope::seal(&key, "k", "GET", "/a", "b\nc", b"", NOW, NONCE);
    for (path, query) in [("/a", "b\nc"), ("/a\nb", "c")] {
        assert_eq!(
            envelope::open(&[("k", &key)], "GET", path, query, b"", &lookup(&headers), NOW),
            Err(EnvelopeError::MalformedTarget)
        );
    }
    let empty = secret("");
    let headers = envelope::seal(&empty, "k", "GET", "/a", "", b"", NOW, NONCE);
    assert_eq!(
        envelope::open(&[("k", &empty)], "GET", "/a", "", b"", &lookup(&headers), NOW),
        Err(EnvelopeError::WrongSignature),
        "an empty secret opens nothing"
    );
}

#[test]
fn envelope_json() {
    let least = r#"{"request_id":"req_1","received_at_ms":1764000000123,"access_key":"ak","method":"GET","path":"/take","query":"url=https%3A%2F%2Fexample.com","body":""}"#;
    let envelope: Envelope = serde_json::from_str(least).unwrap();
    assert_eq!((&envelope.content_type, &envelope.idempotency_key, &envelope.traceparent), (&None, &None, &None));
    assert_eq!(serde_json::to_string(&envelope).unwrap(), least);

    let newer = least.replacen('{', r#"{"of_a_newer_edge":[1],"content_type":null,"#, 1);
    assert_eq!(serde_json::from_str::<Envelope>(&newer).unwrap(), envelope);

    let full = Envelope {
        content_type: Some("application/json".into()),
        idempotency_key: Some("once".into()),
        priority: Some("u=1".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        body: "{\"html\":\"☃ \\u0000\"}".into(),
        ..envelope
    };
    assert_eq!(serde_json::from_str::<Envelope>(&serde_json::to_string(&full).unwrap()).unwrap(), full);
    let printed = format!("{full:?}");
    for hidden in ["ak\"", "example.com", "html", "once"] {
        assert!(!printed.contains(hidden), "{hidden} in {printed}");
    }
    assert!(printed.contains("req_1"), "{printed}");
}
