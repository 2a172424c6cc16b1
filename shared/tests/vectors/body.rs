//! The two vendors' signature over a body, and what all of them stand on.

use serde_json::Value;
use snaphook_shared::link::{self, LinkError};
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{
    SCREENSHOTMAX_SIGNATURE, SCREENSHOTONE_SIGNATURE, VerifyError, hmac_sha256, sha256_hex, sign_hex, verify_hex,
    verify_webhook, webhook_headers,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::{NOW, flip_hex_digit, lookup, rows, secret, text};

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
fn a_secret_is_plain_in_json_and_nowhere_else() {
    let key = secret("MW2vfkkgLTzGGw");
    assert_eq!(format!("{key:?}"), "Secret(…)");
    let json = serde_json::to_string(&key).unwrap();
    assert_eq!(json, r#""MW2vfkkgLTzGGw""#);
    assert_eq!(serde_json::from_str::<Secret>(&json).unwrap(), key);
    assert_ne!(key, secret("MW2vfkkgLTzGGW"));
    assert_ne!(key, secret("MW2vfkkgLTzGG"));
    assert_eq!(key.expose(), "MW2vfkkgLTzGGw");
}
