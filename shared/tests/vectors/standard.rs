//! The three headers of Standard Webhooks, and what verifies a delivery.

use serde_json::Value;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{
    SCREENSHOTMAX_SIGNATURE, SCREENSHOTONE_SIGNATURE, Scheme, VerifyError, WEBHOOK_ID, WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP, sign_hex, sign_standard, standard_webhook_secret, verify_webhook, webhook_headers,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::{NOW, golden, lookup, rows, secret, text};

#[test]
fn standard_webhooks_vectors() {
    let rows = rows("standard_webhooks");
    assert_eq!(rows.len(), 8);
    for row in rows {
        let (name, key, id, body, expected) = (
            text(&row, "name"),
            secret(text(&row, "secret")),
            text(&row, "id"),
            text(&row, "body"),
            text(&row, "signature"),
        );
        let timestamp = row.get("timestamp").and_then(Value::as_u64).unwrap();
        assert_eq!(sign_standard(std::slice::from_ref(&key), id, timestamp, body.as_bytes()), expected, "{name}");
        let headers = webhook_headers(std::slice::from_ref(&key), id, timestamp, body.as_bytes());
        let verified = verify_webhook(body.as_bytes(), &lookup(&headers), &[key], timestamp, 300).unwrap();
        assert_eq!(verified.scheme, Scheme::StandardWebhooks, "{name}");
        assert_eq!((verified.id.as_deref(), verified.timestamp), (Some(id), Some(timestamp)), "{name}");
    }
}

#[test]
fn standard_form_of_a_secret_has_the_same_key() {
    let cases = [
        ("MW2vfkkgLTzGGw", "whsec_TVcydmZra2dMVHpHR3c="),
        ("ключ-secret", "whsec_0LrQu9GO0Yctc2VjcmV0"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        // Not base64 after the prefix: the vendor's text is the key, prefix and all.
        ("whsec_no base64", "whsec_d2hzZWNfbm8gYmFzZTY0"),
        // Unpadded is not what a Standard Webhooks library takes either.
        ("whsec_YQ", "whsec_d2hzZWNfWVE="),
    ];
    for (given, expected) in cases {
        let standard = standard_webhook_secret(&secret(given));
        assert_eq!(standard.expose(), expected, "{given}");
        assert_eq!(standard_webhook_secret(&standard), standard, "{given}: twice");
        assert_eq!(sign_standard(&[secret(given)], "msg", NOW, b"{}"), sign_standard(&[standard], "msg", NOW, b"{}"));
    }
}

#[test]
fn headers_of_a_rotated_key() {
    let keys = [secret("new"), secret("old")];
    let headers = webhook_headers(&keys, "req_1", NOW, b"{}");
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [SCREENSHOTONE_SIGNATURE, SCREENSHOTMAX_SIGNATURE, WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE]
    );
    let header = lookup(&headers);
    assert_eq!(header(SCREENSHOTONE_SIGNATURE), Some(sign_hex(&keys[0], b"{}")), "the current one only");
    assert_eq!(header(SCREENSHOTMAX_SIGNATURE), Some(sign_hex(&keys[0], b"{}")), "the current one only");
    let [new, old] = [&keys[..1], &keys[1..]].map(|key| sign_standard(key, "req_1", NOW, b"{}"));
    assert_eq!(header(WEBHOOK_SIGNATURE), Some(format!("{new} {old}")), "newest first, one space");
    for key in keys {
        assert!(verify_webhook(b"{}", &header, &[secret("third"), key], NOW, 300).is_ok());
    }
    assert_eq!(
        verify_webhook(b"{}", &header, &[secret("third")], NOW, 300),
        Err(VerifyError::WrongSignature),
        "wrong for Standard Webhooks"
    );
}

/// One delivery as the receiver gets it.
#[derive(Clone)]
struct Delivery {
    id: Option<String>,
    timestamp: Option<String>,
    signature: Option<String>,
    body: Vec<u8>,
    secrets: Vec<Secret>,
}

const MATRIX_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const MATRIX_OLD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

impl Delivery {
    fn new(id: &str, timestamp: u64, body: &[u8]) -> Self {
        let secrets = vec![secret(MATRIX_SECRET)];
        Self {
            id: Some(id.to_owned()),
            timestamp: Some(timestamp.to_string()),
            signature: Some(sign_standard(&secrets, id, timestamp, body)),
            body: body.to_vec(),
            secrets,
        }
    }

    fn verdict(&self) -> &'static str {
        let header = |name: &str| match name {
            WEBHOOK_ID => self.id.clone(),
            WEBHOOK_TIMESTAMP => self.timestamp.clone(),
            WEBHOOK_SIGNATURE => self.signature.clone(),
            _ => None,
        };
        match verify_webhook(&self.body, &header, &self.secrets, NOW, 300) {
            Ok(_) => "accept",
            Err(error) => error.code(),
        }
    }
}

/// Builds the row's delivery; gives our verdict and, where it parts from what all four libraries say, the reason.
fn matrix_row(name: &str) -> (Delivery, &'static str, Option<&'static str>) {
    let good = Delivery::new("msg_1", NOW, br#"{"a":1}"#);
    let both = [secret(MATRIX_SECRET), secret(MATRIX_OLD_SECRET)];
    let signature = good.signature.clone().unwrap();
    let encoded = signature.strip_prefix("v1,").unwrap().to_owned();
    let signed_as = |signature: String| Delivery { signature: Some(signature), ..good.clone() };
    let stamped = |timestamp: String| Delivery { timestamp: Some(timestamp), ..good.clone() };
    let with_secret = |text: &str| Delivery { secrets: vec![secret(text)], ..good.clone() };
    let rotated = Delivery { signature: Some(sign_standard(&both, "msg_1", NOW, &good.body)), ..good.clone() };
    let wrong = "wrong_signature";

    let (delivery, verdict) = match name {
        "good" => (good, "accept"),
        "secret without whsec_ prefix" => {
            let reason = "a secret without the prefix is the vendor's text, not base64";
            return (with_secret(&MATRIX_SECRET[6..]), wrong, Some(reason));
        }
        // The look-up gives names in lower case; folding is the wrapper's and tested there.
        "mixed-case header names" => (good, "accept"),
        "rotation: new,old; verify with new" => (rotated, "accept"),
        "rotation: new,old; verify with old" => {
            (Delivery { secrets: vec![secret(MATRIX_OLD_SECRET)], ..rotated }, "accept")
        }
        "v1a entry first then v1" => (signed_as(format!("v1a,{} {signature}", "A".repeat(86) + "==")), "accept"),
        "unknown v2 with right sig only" => (signed_as(format!("v2,{encoded}")), wrong),
        "body one byte changed" => (Delivery { body: br#"{"a":2}"#.to_vec(), ..good }, wrong),
        "body re-serialised (spaces)" => (Delivery { body: br#"{"a": 1}"#.to_vec(), ..good }, wrong),
        "id changed" => (Delivery { id: Some("msg_2".into()), ..good }, wrong),
        "timestamp +1" => (stamped((NOW + 1).to_string()), wrong),
        "ts = now-290 s" => (Delivery::new("msg_1", NOW - 290, b"{}"), "accept"),
        "ts = now-310 s" => (Delivery::new("msg_1", NOW - 310, b"{}"), "timestamp_too_old"),
        "ts = now+310 s" => (Delivery::new("msg_1", NOW + 310, b"{}"), "timestamp_too_new"),
        "missing id" => (Delivery { id: None, ..good }, "missing_header"),
        "missing timestamp" => (Delivery { timestamp: None, ..good }, "missing_header"),
        "missing signature" => (Delivery { signature: None, ..good }, "missing_signature"),
        "ts trailing junk \"…abc\"" => (stamped(format!("{NOW}abc")), "malformed_header"),
        "ts float \"….9\"" => (stamped(format!("{NOW}.9")), "malformed_header"),
        "ts in ms" => (stamped(format!("{NOW}000")), "timestamp_too_new"),
        "ts with leading +" => {
            return (stamped(format!("+{NOW}")), "malformed_header", Some("a signed number has one spelling"));
        }
        "signature without comma" => (signed_as(format!("v1{encoded}")), wrong),
        "signature v1, empty" => (signed_as("v1,".into()), wrong),
        "sig truncated 8" => (signed_as(signature[..8].to_owned()), wrong),
        "sig base64 no padding" => (signed_as(signature.trim_end_matches('=').to_owned()), wrong),
        "sig with junk char in base64" => (signed_as(format!("v1,{}!{}", &encoded[..9], &encoded[9..])), wrong),
        "sig with extra comma field" => (signed_as(format!("{signature},x")), wrong),
        "double space between sigs" => (signed_as(format!("v1,AAAA  {signature}")), "accept"),
        "comma-separated sigs instead of space" => (signed_as(format!("{signature},{signature}")), wrong),
        "hex instead of base64" => {
            let text = format!("msg_1.{NOW}.{}", String::from_utf8(good.body.clone()).unwrap());
            (signed_as(format!("v1,{}", sign_hex(&secret(MATRIX_SECRET), text.as_bytes()))), wrong)
        }
        "empty secret \"\"" => (with_secret(""), "no_secret"),
        "secret \"whsec_\"" => (with_secret("whsec_"), "no_secret"),
        "id containing dots" => (Delivery::new("msg.1.2", NOW, b"{}"), "accept"),
        "empty body" => (Delivery::new("msg_1", NOW, b""), "accept"),
        "binary (non-UTF-8) body signed over raw bytes" => {
            let reason = "a signature is over bytes, whatever they spell";
            return (Delivery::new("msg_1", NOW, b"\x89PNG\r\n\x1a\n\xff"), "accept", Some(reason));
        }
        other => panic!("no such delivery: {other}"),
    };
    (delivery, verdict, None)
}

#[test]
fn verify_matrix() {
    let matrix = golden("verify_matrix");
    let rows = matrix.get("rows").and_then(Value::as_array).unwrap();
    assert_eq!(rows.len(), 35);
    for row in rows {
        let cells: Vec<&str> = row.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap()).collect();
        let (name, libraries) = cells.split_first().unwrap();
        let (delivery, expected, parts_because) = matrix_row(name);
        assert_eq!(delivery.verdict(), expected, "{name}");
        let accepting = libraries.iter().filter(|cell| cell.starts_with("accept")).count();
        // Where the libraries disagree, any verdict is in good company.
        let unanimous = accepting == 0 || accepting == libraries.len();
        let parts = unanimous && (accepting > 0) != (expected == "accept");
        assert_eq!(parts, parts_because.is_some(), "{name}: {parts_because:?}");
    }
}

#[test]
fn tolerance_is_inclusive_both_ways_and_survives_the_ends_of_time() {
    let keys = [secret("s")];
    let verdict = |timestamp: u64, now: u64, tolerance: u64| {
        verify_webhook(b"", &lookup(&webhook_headers(&keys, "m", timestamp, b"")), &keys, now, tolerance)
            .map(|verified| verified.timestamp)
    };
    assert_eq!(verdict(NOW - 300, NOW, 300), Ok(Some(NOW - 300)));
    assert_eq!(verdict(NOW + 300, NOW, 300), Ok(Some(NOW + 300)));
    let (seconds, tolerance_seconds) = (301, 300);
    assert_eq!(verdict(NOW - 301, NOW, 300), Err(VerifyError::TimestampTooOld { seconds, tolerance_seconds }));
    assert_eq!(verdict(NOW + 301, NOW, 300), Err(VerifyError::TimestampTooNew { seconds, tolerance_seconds }));
    assert_eq!(verdict(NOW, NOW, 0), Ok(Some(NOW)));
    assert_eq!(verdict(0, u64::MAX, u64::MAX), Ok(Some(0)));
    assert_eq!(verdict(u64::MAX, 0, u64::MAX), Ok(Some(u64::MAX)));
}

#[test]
fn vendor_headers_verify_alone() {
    let keys = [secret("new"), secret("old")];
    for (name, scheme) in
        [(SCREENSHOTONE_SIGNATURE, Scheme::ScreenshotOne), (SCREENSHOTMAX_SIGNATURE, Scheme::ScreenshotMax)]
    {
        for key in &keys {
            let header = lookup(&[(name, sign_hex(key, b"{}"))]);
            let verified = verify_webhook(b"{}", &header, &keys, NOW, 300).unwrap();
            assert_eq!((verified.scheme, verified.id, verified.timestamp), (scheme, None, None));
            assert_eq!(verify_webhook(b"{} ", &header, &keys, NOW, 300), Err(VerifyError::WrongSignature));
        }
        let junk = lookup(&[(name, "junk".to_owned())]);
        assert_eq!(verify_webhook(b"{}", &junk, &keys, NOW, 300), Err(VerifyError::MalformedHeader(name)));
    }
}

#[test]
fn a_wrong_signature_is_not_saved_by_another_scheme() {
    let keys = [secret("s")];
    let good = webhook_headers(&keys, "m", NOW, b"{}");
    let bad_hex = sign_hex(&secret("other"), b"{}");
    let replaced = |name: &str, value: &str| {
        let headers: Vec<(&str, String)> =
            good.iter().map(|(n, v)| (*n, if *n == name { value.to_owned() } else { v.clone() })).collect();
        verify_webhook(b"{}", &lookup(&headers), &keys, NOW, 300).map(|verified| verified.scheme)
    };
    for value in ["", "junk", "v1,", "v2,AAAA", &sign_standard(&[secret("other")], "m", NOW, b"{}")] {
        assert_eq!(replaced(WEBHOOK_SIGNATURE, value), Err(VerifyError::WrongSignature), "{value:?}");
    }
    assert_eq!(replaced(WEBHOOK_TIMESTAMP, "soon"), Err(VerifyError::MalformedHeader(WEBHOOK_TIMESTAMP)));
    assert_eq!(replaced(WEBHOOK_ID, ""), Err(VerifyError::MissingHeader(WEBHOOK_ID)));

    let vendors_only =
        lookup(&[(SCREENSHOTONE_SIGNATURE, bad_hex), (SCREENSHOTMAX_SIGNATURE, sign_hex(&keys[0], b"{}"))]);
    assert_eq!(verify_webhook(b"{}", &vendors_only, &keys, NOW, 300), Err(VerifyError::WrongSignature));
    assert_eq!(verify_webhook(b"{}", &|_| None, &keys, NOW, 300), Err(VerifyError::MissingSignature));
    assert_eq!(verify_webhook(b"{}", &|_| None, &[], NOW, 300), Err(VerifyError::NoSecret));
}
