//! The golden signature vectors and what must hold around them, natively and as wasm: the same file runs under
//! `cargo test` and `cargo test --target wasm32-unknown-unknown`, since the edge and the backend must agree on every bit.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use snaphook_shared::envelope::{self, Envelope, EnvelopeError, Seal, SealedBody};
use snaphook_shared::link::{self, LinkError, LinkSignature};
use snaphook_shared::signing::{
    SCREENSHOTMAX_SIGNATURE, SCREENSHOTONE_SIGNATURE, Scheme, SecretKey, VerifyError, WEBHOOK_ID, WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP, hmac_sha256, sha256_hex, sign_hex, sign_standard, standard_webhook_secret, verify_hex,
    verify_webhook, webhook_headers,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: u64 = 1_764_000_000;

fn golden(section: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../golden/signature_vectors.json")).unwrap();
    all.get(section).unwrap().clone()
}

fn rows(section: &str) -> Vec<Value> {
    golden(section).as_array().unwrap().clone()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or_else(|| panic!("no `{field}` in {row}"))
}

fn secret(text: &str) -> SecretKey {
    SecretKey::new(text)
}

/// The headers as a receiver looks them up.
fn lookup(headers: &[(&str, String)]) -> impl Fn(&str) -> Option<String> + use<> {
    let headers: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
    move |name| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
}

/// A small generator of the same numbers everywhere, for junk.
struct Junk(u64);

impl Junk {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap() % end
    }

    /// A text out of pieces that mean something to one of the parsers.
    fn text(&mut self) -> String {
        const PIECES: [&str; 24] = [
            "",
            "&",
            "=",
            "signature",
            "signature=",
            "expires=",
            "v1,",
            "v1a,",
            "whsec_",
            ",",
            " ",
            ".",
            "\n",
            "\0",
            "%",
            "é",
            "☃",
            "0",
            "9",
            "00ff",
            "AAAA",
            "+",
            "-",
            "18446744073709551616",
        ];
        (0..self.below(9)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }
}

fn flip_hex_digit(hex: &str, at: usize) -> String {
    let flip = |c: char| if c == '0' { '1' } else { '0' };
    hex.chars().enumerate().map(|(i, c)| if i == at { flip(c) } else { c }).collect()
}

// ---- the two vendors' body signature ----

fn body_of(row: &Value) -> String {
    match row.get("body").and_then(Value::as_str) {
        Some(body) => body.to_owned(),
        // A9 is described, not written out.
        None => {
            assert_eq!(text(row, "body_desc"), r#"{"p":"" + "x"*19992 + ""}"#);
            format!(r#"{{"p":"{}"}}"#, "x".repeat(19_992))
        }
    }
}

#[test]
fn body_hmac_vectors() {
    let rows = rows("body_hmac");
    assert_eq!(rows.len(), 10);
    for row in rows {
        let (name, key, body, expected) =
            (text(&row, "name"), secret(text(&row, "secret")), body_of(&row), text(&row, "sig_hex"));
        assert_eq!(Some(body.len() as u64), row.get("body_bytes").and_then(Value::as_u64), "{name}");
        assert_eq!(sign_hex(&key, body.as_bytes()), expected, "{name}");
        assert!(verify_hex(&key, body.as_bytes(), expected), "{name}");
        assert!(verify_hex(&key, body.as_bytes(), &expected.to_uppercase()), "{name}: upper case");
        assert!(!verify_hex(&key, format!("{body} ").as_bytes(), expected), "{name}: another body");
        assert!(!verify_hex(&secret("other"), body.as_bytes(), expected), "{name}: another secret");
        for at in 0..expected.len() {
            assert!(!verify_hex(&key, body.as_bytes(), &flip_hex_digit(expected, at)), "{name}: digit {at}");
        }
    }
}

#[test]
fn hex_signature_has_one_length() {
    let key = secret("MW2vfkkgLTzGGw");
    let good = sign_hex(&key, b"body");
    for bad in [
        String::new(),
        good[..63].to_owned(),
        format!("{good}0"),
        format!("0x{good}"),
        format!("sha256={good}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}{good}"),
        "g".repeat(64),
        "é".repeat(32),
    ] {
        assert!(!verify_hex(&key, b"body", &bad), "{bad:?}");
    }
}

#[test]
fn empty_secret_never_verifies() {
    for empty in ["", "whsec_"] {
        let key = secret(empty);
        let forged = webhook_headers_with_raw_key(b"");
        let verdict = verify_webhook(b"{}", &lookup(&forged), std::slice::from_ref(&key), NOW, 300);
        assert_eq!(verdict, Err(VerifyError::NoSecret), "{empty:?}");
        assert!(webhook_headers(std::slice::from_ref(&key), "msg_1", NOW, b"{}").is_empty(), "{empty:?}");
    }
    assert!(!verify_hex(&secret(""), b"body", &sign_hex(&secret(""), b"body")));
    assert_eq!(link::verify(&link::sign("a=1", &secret("")), &[secret("")], NOW), Err(LinkError::Wrong));
}

/// What a forger would send who guesses that the key is empty.
fn webhook_headers_with_raw_key(key: &[u8]) -> Vec<(&'static str, String)> {
    let hex: String = hmac_sha256(key, &[b"{}"]).iter().map(|b| format!("{b:02x}")).collect();
    vec![(SCREENSHOTONE_SIGNATURE, hex.clone()), (SCREENSHOTMAX_SIGNATURE, hex)]
}

#[test]
fn hmac_of_parts_is_hmac_of_the_whole() {
    for length in [0, 1, 63, 64, 65, 200] {
        let key = vec![7u8; length];
        assert_eq!(hmac_sha256(&key, &[b"ab", b"", b"c"]), hmac_sha256(&key, &[b"abc"]), "{length}");
    }
    // RFC 4231, test case 2.
    let mac: String =
        hmac_sha256(b"Jefe", &[b"what do ya want for nothing?"]).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(mac, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn secret_key_is_plain_in_json_and_nowhere_else() {
    let key = secret("MW2vfkkgLTzGGw");
    assert_eq!(format!("{key:?}"), "SecretKey(…)");
    let json = serde_json::to_string(&key).unwrap();
    assert_eq!(json, r#""MW2vfkkgLTzGGw""#);
    assert_eq!(serde_json::from_str::<SecretKey>(&json).unwrap(), key);
    assert_ne!(key, secret("MW2vfkkgLTzGGW"));
    assert_ne!(key, secret("MW2vfkkgLTzGG"));
    assert_eq!(key.expose(), "MW2vfkkgLTzGGw");
}

// ---- Standard Webhooks ----

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
    secrets: Vec<SecretKey>,
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

// ---- signed links ----

fn signed_links() -> Vec<(String, SecretKey)> {
    let rows = rows("signed_links");
    assert_eq!(rows.len(), 16);
    rows.iter()
        .map(|row| (text(row, "url").split_once('?').unwrap().1.to_owned(), secret(text(row, "secret"))))
        .collect()
}

#[test]
fn signed_link_vectors() {
    for (query, key) in signed_links() {
        let verify = |query: &str| link::verify(query, std::slice::from_ref(&key), NOW);
        assert_eq!(verify(&query), Ok(()), "{query}");
        let (message, signature) = query.rsplit_once("&signature=").unwrap();
        assert_eq!(link::sign(message, &key), query);
        assert_eq!(link::split(&query), LinkSignature::Signed { message: message.to_owned(), signature }, "{query}");

        for at in 0..64 {
            let flipped = format!("{message}&signature={}", flip_hex_digit(signature, at));
            assert_eq!(verify(&flipped), Err(LinkError::Wrong), "{flipped}");
        }
        let mut pieces: Vec<&str> = message.split('&').collect();
        pieces.rotate_left(1);
        assert_eq!(verify(&format!("{}&signature={signature}", pieces.join("&"))), Err(LinkError::Wrong), "{query}");
        assert_eq!(verify(&format!("{query}&signature={signature}")), Err(LinkError::Repeated), "{query}");
        assert_eq!(verify(&format!("signature={signature}&{query}")), Err(LinkError::Repeated), "{query}");
        assert_eq!(verify(message), Err(LinkError::Missing), "{query}");
        assert_eq!(verify(&format!("{query}&")), Err(LinkError::Wrong), "{query}");
        assert_eq!(verify(&query.replace("%2F", "/")) == Ok(()), !query.contains("%2F"), "decoding breaks {query}");
        assert_eq!(link::verify(&query, &[secret("other")], NOW), Err(LinkError::Wrong), "{query}");
        assert_eq!(link::verify(&query, &[], NOW), Err(LinkError::Wrong), "{query}");
        assert_eq!(link::verify(&query, &[secret("newer"), key.clone()], NOW), Ok(()), "{query}");
    }
}

#[test]
fn signed_link_signature_may_stand_anywhere() {
    let key = secret("s");
    let message = "a=1&&b=%2A&c";
    let signature = sign_hex(&key, message.as_bytes());
    for query in [
        format!("signature={signature}&a=1&&b=%2A&c"),
        format!("a=1&signature={signature}&&b=%2A&c"),
        format!("a=1&&signature={signature}&b=%2A&c"),
        format!("a=1&&b=%2A&c&signature={signature}"),
    ] {
        assert_eq!(link::split(&query), LinkSignature::Signed { message: message.to_owned(), signature: &signature });
        assert_eq!(link::verify(&query, std::slice::from_ref(&key), NOW), Ok(()), "{query}");
    }
    // The name is compared as it stands: none of these is the signature pair.
    for query in ["", "Signature=1", "%73ignature=1", "signatures=1", "x=signature=1", "signature%3D1"] {
        assert_eq!(link::split(query), LinkSignature::Unsigned, "{query}");
    }
    let beside = link::sign("signatures=1&xsignature=2", &key);
    assert_eq!(link::verify(&beside, std::slice::from_ref(&key), NOW), Ok(()), "{beside}");
    // A bare name is a pair with an empty value, and so refused instead of taken for an unsigned link.
    assert_eq!(link::split("a=1&signature"), LinkSignature::Signed { message: "a=1".into(), signature: "" });
    assert_eq!(link::verify("a=1&signature", &[key], NOW), Err(LinkError::Wrong));
    assert_eq!(link::split("signature&signature=1"), LinkSignature::Repeated);
    assert_eq!(link::raw_pairs("a=1=2&&b").collect::<Vec<_>>(), [("a", "1=2"), ("", ""), ("b", "")]);
}

#[test]
fn signed_link_expiry() {
    let keys = [secret("s")];
    let verify = |raw: &str| link::verify(&link::sign(raw, &keys[0]), &keys, NOW);
    assert_eq!(verify(&format!("url=x&expires={NOW}")), Ok(()));
    assert_eq!(verify(&format!("url=x&expires={}", NOW - 1)), Err(LinkError::Expired));
    assert_eq!(
        verify(&format!("expires={}&url=x&expires={NOW}", NOW - 1)),
        Err(LinkError::Expired),
        "all of them hold"
    );
    for junk in ["", "-1", "1e99", "soon", "%31", "18446744073709551616"] {
        assert_eq!(verify(&format!("url=x&expires={junk}")), Err(LinkError::Expired), "{junk:?}");
    }
    let moved = link::sign("url=x&expires=1", &keys[0]).replace("expires=1", "expires=9999999999");
    assert_eq!(link::verify(&moved, &keys, NOW), Err(LinkError::Wrong), "the deadline is signed");
    let outside = format!("{}&expires=9999999999", link::sign("url=x", &keys[0]));
    assert_eq!(link::verify(&outside, &keys, NOW), Err(LinkError::Wrong));
    assert!(link::sign("", &keys[0]).starts_with("signature="));
    assert_eq!(verify(""), Ok(()));
}

// ---- the edge's hand-over ----

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

const NONCE: &str = "0192f0c1a2b34c5d8e9f00112233aabb";

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

// ---- junk ----

#[test]
fn junk_is_refused_without_a_panic() {
    let mut junk = Junk(1);
    for _ in 0..5_000 {
        let keys: Vec<SecretKey> = (0..junk.below(3)).map(|_| SecretKey::new(format!("k{}", junk.text()))).collect();
        let body = junk.text();

        let query = junk.text();
        assert!(link::verify(&query, &keys, NOW).is_err(), "{query:?}");

        let names =
            [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE, SCREENSHOTONE_SIGNATURE, SCREENSHOTMAX_SIGNATURE];
        let mut headers = Vec::new();
        for name in names {
            if junk.below(4) > 0 {
                headers.push((name, junk.text()));
            }
        }
        let now = junk.next();
        assert!(verify_webhook(body.as_bytes(), &lookup(&headers), &keys, now, u64::MAX).is_err(), "{headers:?}");

        let names =
            [envelope::TIMESTAMP_HEADER, envelope::NONCE_HEADER, envelope::KEY_ID_HEADER, envelope::SIGNATURE_HEADER];
        let headers: Vec<(&str, String)> = names.into_iter().map(|n| (n, junk.text())).collect();
        let live: Vec<(&str, &SecretKey)> = keys.iter().map(|key| ("0", key)).collect();
        let (method, path) = (junk.text(), junk.text());
        assert!(envelope::open(&live, &method, &path, &query, body.as_bytes(), &lookup(&headers), now).is_err());
    }
}

#[test]
fn whatever_is_signed_verifies() {
    let mut junk = Junk(2);
    for _ in 0..2_000 {
        let key = SecretKey::new(format!("k{}", junk.text()));
        let (id, body, timestamp) = (format!("m{}", junk.text()), junk.text(), junk.next());
        let keys = [SecretKey::new("another"), key.clone()];

        let headers = webhook_headers(&keys, &id, timestamp, body.as_bytes());
        let verified =
            verify_webhook(body.as_bytes(), &lookup(&headers), std::slice::from_ref(&key), timestamp, 0).unwrap();
        assert_eq!((verified.id, verified.timestamp), (Some(id), Some(timestamp)));

        let query = junk.text().replace("signature", "s").replace("expires", "e");
        let signed = link::sign(&query, &key);
        assert_eq!(link::verify(&signed, &keys, NOW), Ok(()), "{signed:?}");

        let path = format!("/{}", junk.text().replace('\n', ""));
        let query = query.replace('\n', "");
        let headers = envelope::seal(&key, "k", "POST", &path, &query, body.as_bytes(), timestamp, NONCE);
        let header = lookup(&headers);
        assert_eq!(envelope::open(&[("k", &key)], "POST", &path, &query, body.as_bytes(), &header, timestamp), Ok(()));
    }
}
