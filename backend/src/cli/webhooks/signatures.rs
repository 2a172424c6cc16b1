//! Whether a webhook is what it says: each of its signatures by itself, by the verifier that receivers use.

use snaphook_shared::secret::Secret;
use snaphook_shared::signing::{
    SCREENSHOTMAX_SIGNATURE, SCREENSHOTONE_SIGNATURE, Scheme, VerifyError, WEBHOOK_ID, WEBHOOK_SIGNATURE,
    WEBHOOK_TIMESTAMP, verify_webhook,
};

/// Seconds that a webhook may be old or early, as Standard Webhooks libraries have it.
pub(super) const TOLERANCE_SECONDS: u64 = 300;

/// What came, as it came.
pub(super) struct Received<'a> {
    /// Names in lower case.
    pub(super) headers: &'a [(String, String)],
    pub(super) body: &'a [u8],
}

impl Received<'_> {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// The signatures that are there, and what is wrong with each.
pub(super) type Verdict = Vec<(Scheme, Result<(), VerifyError>)>;

/// Checks every signature that a webhook carries. A receiver that knows one of them would look at no other, so each is
/// shown to the verifier alone.
pub(super) fn judge(received: &Received<'_>, secrets: &[Secret], now_s: u64, tolerance_s: u64) -> Verdict {
    const SCHEMES: [(Scheme, &str); 3] = [
        (Scheme::StandardWebhooks, WEBHOOK_SIGNATURE),
        (Scheme::ScreenshotOne, SCREENSHOTONE_SIGNATURE),
        (Scheme::ScreenshotMax, SCREENSHOTMAX_SIGNATURE),
    ];
    let present = SCHEMES.into_iter().filter(|(_, name)| received.header(name).is_some());
    let judged = present.map(|(scheme, signature)| {
        let only = |name: &str| {
            let shown = name == signature || [WEBHOOK_ID, WEBHOOK_TIMESTAMP].contains(&name);
            shown.then(|| received.header(name)).flatten()
        };
        let result = verify_webhook(received.body, &only, secrets, now_s, tolerance_s);
        (scheme, result.map(|_| ()))
    });
    judged.collect()
}

/// Whether it is proved: there is a signature, and none is wrong.
pub(super) fn holds(verdict: &Verdict) -> bool {
    !verdict.is_empty() && verdict.iter().all(|(_, result)| result.is_ok())
}

#[cfg(test)]
mod tests {
    use snaphook_shared::signing::webhook_headers;

    use super::*;

    #[test]
    fn each_signature_is_judged_by_itself() {
        let secrets = [Secret::new("secret")];
        let made = webhook_headers(&secrets, "msg_1", 1000, b"{}");
        let mut headers: Vec<(String, String)> =
            made.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let verdict = judge(&Received { headers: &headers, body: b"{}" }, &secrets, 1000, 300);
        assert!(verdict.len() == 3 && holds(&verdict), "{verdict:?}");
        assert!(!holds(&judge(&Received { headers: &headers, body: b"{ }" }, &secrets, 1000, 300)));
        let late = judge(&Received { headers: &headers, body: b"{}" }, &secrets, 2000, 300);
        assert!(matches!(late[0].1, Err(VerifyError::TimestampTooOld { .. })), "{late:?}");
        assert!(late[1].1.is_ok() && late[2].1.is_ok() && !holds(&late), "the vendors' know no time");
        for (name, value) in &mut headers {
            if name == SCREENSHOTMAX_SIGNATURE {
                *value = "0".repeat(64);
            }
        }
        let forged = judge(&Received { headers: &headers, body: b"{}" }, &secrets, 1000, 300);
        assert_eq!(forged.iter().filter(|(_, result)| result.is_err()).count(), 1, "{forged:?}");
        assert!(!holds(&Vec::new()), "no signature proves nothing");
    }
}
