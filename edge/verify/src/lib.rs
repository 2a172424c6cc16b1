//! The wasm half of the npm package `@snaphook/verify`; the JavaScript half lies in `npm/`.
//!
//! The signatures are checked here, by the code that also makes them. Everything that needs JavaScript's own types
//! (headers, errors, options, the clock) stays over there: only numbers, strings and bytes cross the border, so the
//! module imports next to nothing. That is what lets it load everywhere: wasm-bindgen wraps imports that may throw in
//! code which Node 20 refuses to compile.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{
    self, SCREENSHOTMAX_SIGNATURE, SCREENSHOTONE_SIGNATURE, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP,
};
use wasm_bindgen::prelude::wasm_bindgen;

/// The headers to look up, in the order in which [`check`] takes their values: lower case, separated by blanks.
#[wasm_bindgen(js_name = headerNames)]
pub fn header_names() -> String {
    [WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE, SCREENSHOTONE_SIGNATURE, SCREENSHOTMAX_SIGNATURE].join(" ")
}

/// Checks one webhook.
///
/// `secrets` are separated by NUL, `now` is in Unix seconds, both numbers are cut to whole seconds and to zero or more.
/// The answer is three lines and a rest, which may hold anything:
/// `ok`, the scheme, the timestamp or nothing, the id or nothing; or else `error`, the code, nothing, the message.
#[wasm_bindgen]
#[expect(clippy::too_many_arguments, reason = "a struct would cost an import for each of its fields")]
pub fn check(
    body: &[u8],
    webhook_id: Option<String>,
    webhook_timestamp: Option<String>,
    webhook_signature: Option<String>,
    screenshotone_signature: Option<String>,
    screenshotmax_signature: Option<String>,
    secrets: &str,
    now: f64,
    tolerance_seconds: f64,
) -> String {
    let header = |name: &str| match name {
        WEBHOOK_ID => webhook_id.clone(),
        WEBHOOK_TIMESTAMP => webhook_timestamp.clone(),
        WEBHOOK_SIGNATURE => webhook_signature.clone(),
        SCREENSHOTONE_SIGNATURE => screenshotone_signature.clone(),
        SCREENSHOTMAX_SIGNATURE => screenshotmax_signature.clone(),
        _ => None,
    };
    let secrets: Vec<Secret> = secrets.split('\0').map(Secret::new).collect();
    // Casts from float saturate, and a NaN becomes 0: no clock at all refuses every timestamp.
    match signing::verify_webhook(body, &header, &secrets, now as u64, tolerance_seconds as u64) {
        Ok(verified) => {
            let timestamp = verified.timestamp.map(|seconds| seconds.to_string()).unwrap_or_default();
            ["ok", verified.scheme.as_str(), &timestamp, &verified.id.unwrap_or_default()].join("\n")
        }
        Err(error) => ["error", error.code(), "", &error.to_string()].join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(headers: [Option<&str>; 5], secrets: &str, now: f64, tolerance_seconds: f64) -> String {
        let [id, timestamp, signature, one, max] = headers.map(|value| value.map(str::to_owned));
        check(b"{}", id, timestamp, signature, one, max, secrets, now, tolerance_seconds)
    }

    #[test]
    fn answers_in_lines() {
        let key = Secret::new("s");
        let standard = signing::sign_standard(std::slice::from_ref(&key), "a\nb", 1000, b"{}");
        let trio = [Some("a\nb"), Some("1000"), Some(&*standard), None, None];
        assert_eq!(check_with(trio, "s", 1000.9, 0.0), "ok\nstandard-webhooks\n1000\na\nb");
        assert_eq!(check_with(trio, "other\0s", 1000.0, f64::INFINITY), "ok\nstandard-webhooks\n1000\na\nb");
        assert!(check_with(trio, "other", 1000.0, 0.0).starts_with("error\nwrong_signature\n\n"));
        assert!(check_with(trio, "s", f64::NAN, 300.0).starts_with("error\ntimestamp_too_new\n\n"));
        assert!(check_with(trio, "s", 1301.0, f64::NAN).starts_with("error\ntimestamp_too_old\n\n"));
        assert!(check_with(trio, "", 1000.0, 0.0).starts_with("error\nno_secret\n\n"));

        let hex = signing::sign_hex(&key, b"{}");
        assert_eq!(check_with([None, None, None, Some(&hex), None], "s", 0.0, 0.0), "ok\nscreenshotone\n\n");
        assert_eq!(check_with([None, None, None, None, Some(&hex)], "s", 0.0, 0.0), "ok\nscreenshotmax\n\n");
    }

    #[test]
    fn names_are_in_the_order_of_the_arguments() {
        let key = Secret::new("s");
        let sent = signing::webhook_headers(std::slice::from_ref(&key), "id", 7, b"{}");
        let names = header_names();
        let values: Vec<String> = names
            .split(' ')
            .map(|name| sent.iter().find(|(sent_name, _)| *sent_name == name).map(|(_, value)| value.clone()).unwrap())
            .collect();
        let [id, timestamp, signature, one, max] = <[String; 5]>::try_from(values).unwrap().map(Some);
        assert_eq!(check(b"{}", id, timestamp, signature, one, max, "s", 7.0, 0.0), "ok\nstandard-webhooks\n7\nid");
    }
}
