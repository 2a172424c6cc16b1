//! Whatever comes, nothing panics; whatever is signed, verifies.

use snaphook_shared::envelope;
use snaphook_shared::link;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{
    SCREENSHOTMAX_SIGNATURE, SCREENSHOTONE_SIGNATURE, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, verify_webhook,
    webhook_headers,
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::hand_over::NONCE;
use crate::{NOW, lookup};

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

#[test]
fn junk_is_refused_without_a_panic() {
    let mut junk = Junk(1);
    for _ in 0..5_000 {
        let keys: Vec<Secret> = (0..junk.below(3)).map(|_| Secret::new(format!("k{}", junk.text()))).collect();
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
        let live: Vec<(&str, &Secret)> = keys.iter().map(|key| ("0", key)).collect();
        let (method, path) = (junk.text(), junk.text());
        assert!(envelope::open(&live, &method, &path, &query, body.as_bytes(), &lookup(&headers), now).is_err());
    }
}

#[test]
fn whatever_is_signed_verifies() {
    let mut junk = Junk(2);
    for _ in 0..2_000 {
        let key = Secret::new(format!("k{}", junk.text()));
        let (id, body, timestamp) = (format!("m{}", junk.text()), junk.text(), junk.next());
        let keys = [Secret::new("another"), key.clone()];

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
