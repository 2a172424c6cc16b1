//! Links that are signed.

use snaphook_shared::link::{self, LinkError, LinkSignature};
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::sign_hex;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::{NOW, flip_hex_digit, rows, secret, text};

fn signed_links() -> Vec<(String, Secret)> {
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
