//! Signatures: the HMAC under everything signed here, and the webhook headers, made and checked.
//!
//! A webhook carries up to three signatures of the same raw body, and a receiver may check whichever it knows:
//!
//! | header | value | signed text | wire format's source |
//! |---|---|---|---|
//! | `x-screenshotone-signature` | 64 lower-case hex digits | body | ScreenshotOne, "Webhooks" |
//! | `x-screenshotmax-webhook-signature` | 64 lower-case hex digits | body | ScreenshotMAX, "Webhooks" |
//! | `webhook-id`, `webhook-timestamp`, `webhook-signature` | id, Unix seconds, `v1,<base64>` entries | `id.timestamp.body` | Standard Webhooks 1.0.0 |
//!
//! All are HMAC-SHA256. Only the third knows time and rotation: the two vendor headers hold one value each, which is
//! of the current secret. Nothing here parses or re-serialises a body, because a signature is over bytes.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// ScreenshotOne's webhook signature: hex HMAC of the raw body.
pub const SCREENSHOTONE_SIGNATURE: &str = "x-screenshotone-signature";
/// ScreenshotMAX's webhook signature: hex HMAC of the raw body.
pub const SCREENSHOTMAX_SIGNATURE: &str = "x-screenshotmax-webhook-signature";
/// Standard Webhooks: the delivery's id, the same on every retry; a receiver drops what it has already seen.
pub const WEBHOOK_ID: &str = "webhook-id";
/// Standard Webhooks: Unix seconds of this attempt.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// Standard Webhooks: `v1,<base64>` once per live secret, newest first, separated by single spaces.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// What marks a secret as base64 in Standard Webhooks.
const STANDARD_PREFIX: &str = "whsec_";
/// SHA-256's block, the size HMAC brings every key to.
const BLOCK_BYTES: usize = 64;

/// The key bytes a Standard Webhooks library derives from a secret's [`standard_webhook_secret`] form: the decoded base64
/// after `whsec_`, or the text's own bytes when it has no such prefix or is not base64 behind it.
fn standard_bytes(secret: &Secret) -> Zeroizing<Vec<u8>> {
    let decoded = secret.expose().strip_prefix(STANDARD_PREFIX).and_then(|encoded| BASE64.decode(encoded).ok());
    Zeroizing::new(decoded.unwrap_or_else(|| secret.expose().as_bytes().to_vec()))
}

/// False for `""` and `whsec_`: anybody can sign with an empty key, so no signature of it may count.
fn is_usable(secret: &Secret) -> bool {
    !standard_bytes(secret).is_empty()
}

/// HMAC-SHA256 (RFC 2104) of the parts put end to end.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC hashes a key longer than the block and pads a shorter one with zeros. Doing that here gives a key of
    // exactly one block, for which the constructor cannot fail.
    let mut block = Zeroizing::new([0u8; BLOCK_BYTES]);
    if key.len() > BLOCK_BYTES {
        block.iter_mut().zip(Sha256::digest(key)).for_each(|(slot, byte)| *slot = byte);
    } else {
        block.iter_mut().zip(key).for_each(|(slot, byte)| *slot = *byte);
    }
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// SHA-256 as 64 lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Hashes what is written to it, and keeps nothing of it.
#[derive(Default)]
pub(crate) struct Sha256Writer(Sha256);

impl Sha256Writer {
    /// 64 lower-case digits.
    pub(crate) fn hex(self) -> String {
        hex::encode(self.0.finalize())
    }
}

impl io::Write for Sha256Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Both vendors' signature of a body or a query: 64 lower-case hex digits, no prefix.
pub fn sign_hex(secret: &Secret, message: &[u8]) -> String {
    hex::encode(hmac_sha256(secret.expose().as_bytes(), &[message]))
}

/// Checks [`sign_hex`]'s signature in constant time.
///
/// Exactly 64 hex digits are accepted, without blanks or prefix. Upper-case digits are the same number and pass: some
/// languages print hex that way, and nothing uses the signature's text as an identity. An empty secret never verifies.
pub fn verify_hex(secret: &Secret, message: &[u8], signature: &str) -> bool {
    parse_hex(signature).is_some_and(|given| any_made([secret.expose().as_bytes()], &[message], &[given]))
}

/// The form of a secret that any Standard Webhooks library takes: `whsec_` and padded base64 of the key bytes.
pub fn standard_webhook_secret(secret: &Secret) -> Secret {
    Secret::new(format!("{STANDARD_PREFIX}{}", BASE64.encode(&*standard_bytes(secret))))
}

/// The `webhook-signature` value: `v1,<base64>` for each usable secret in the given order (newest first), separated
/// by single spaces. `timestamp` is in Unix seconds. Empty when no secret is usable.
pub fn sign_standard(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let entries: Vec<String> = usable(secrets)
        .map(|secret| {
            let mac = hmac_sha256(&standard_bytes(secret), &standard_text(id, &timestamp, body));
            format!("v1,{}", BASE64.encode(mac))
        })
        .collect();
    entries.join(" ")
}

/// All signature headers of one delivery attempt, names in lower case.
///
/// `secrets` holds the current one first, then those still in their grace period after a rotation. `id` stays the
/// same over retries and has no `.` in it; `timestamp` is this attempt's, in Unix seconds. Without a usable secret
/// the list is empty: a delivery is then unsigned, and the caller decides whether that may leave.
pub fn webhook_headers(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> Vec<(&'static str, String)> {
    let Some(current) = usable(secrets).next() else { return Vec::new() };
    let signature = sign_hex(current, body);
    vec![
        (SCREENSHOTONE_SIGNATURE, signature.clone()),
        (SCREENSHOTMAX_SIGNATURE, signature),
        (WEBHOOK_ID, id.to_owned()),
        (WEBHOOK_TIMESTAMP, timestamp.to_string()),
        (WEBHOOK_SIGNATURE, sign_standard(secrets, id, timestamp, body)),
    ]
}

/// Which of the three signatures was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The `webhook-*` trio: the only one that also bounds the delivery's age.
    StandardWebhooks,
    /// `x-screenshotone-signature`.
    ScreenshotOne,
    /// `x-screenshotmax-webhook-signature`.
    ScreenshotMax,
}

impl Scheme {
    /// The name that programs see: `standard-webhooks`, `screenshotone`, `screenshotmax`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "standard-webhooks",
            Self::ScreenshotOne => "screenshotone",
            Self::ScreenshotMax => "screenshotmax",
        }
    }
}

/// What a verified webhook's signature vouches for besides the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The signature that was checked.
    pub scheme: Scheme,
    /// The delivery's id, in the Standard Webhooks scheme only: the vendors sign no id.
    pub id: Option<String>,
    /// The attempt's Unix seconds, in the Standard Webhooks scheme only. `None` means that an old delivery played
    /// again cannot be told from a new one.
    pub timestamp: Option<u64>,
}

/// Why a webhook was not verified. The texts hold nothing secret and nothing that the sender wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The receiver's own mistake: no secret, or only empty ones.
    #[error("no secret to verify with; `whsec_` alone counts as empty")]
    NoSecret,
    /// None of the three signatures is there.
    #[error("none of `webhook-signature`, `x-screenshotone-signature`, `x-screenshotmax-webhook-signature` is present")]
    MissingSignature,
    /// `webhook-signature` came without the header named here.
    #[error("`webhook-signature` is present but `{0}` is not")]
    MissingHeader(&'static str),
    /// The header named here is not of its format.
    #[error("`{0}` is malformed")]
    MalformedHeader(&'static str),
    /// Older than the tolerance: an old delivery played again, or a clock that is off.
    #[error("`webhook-timestamp` is {seconds} s in the past; {tolerance_seconds} s are allowed")]
    TimestampTooOld {
        /// How far in the past.
        seconds: u64,
        /// How far is allowed.
        tolerance_seconds: u64,
    },
    /// Newer than the tolerance: a clock that is off, or milliseconds where seconds belong.
    #[error("`webhook-timestamp` is {seconds} s in the future; {tolerance_seconds} s are allowed")]
    TimestampTooNew {
        /// How far in the future.
        seconds: u64,
        /// How far is allowed.
        tolerance_seconds: u64,
    },
    /// No live secret made this signature over this body: another secret, or a body that was parsed and re-written.
    #[error("the signature does not match the raw body and any of the secrets")]
    WrongSignature,
}

impl VerifyError {
    /// The name that programs branch on; it stays when the texts change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSecret => "no_secret",
            Self::MissingSignature => "missing_signature",
            Self::MissingHeader(_) => "missing_header",
            Self::MalformedHeader(_) => "malformed_header",
            Self::TimestampTooOld { .. } => "timestamp_too_old",
            Self::TimestampTooNew { .. } => "timestamp_too_new",
            Self::WrongSignature => "wrong_signature",
        }
    }
}

/// Checks a webhook as its receiver.
///
/// `header` gives a header's value for its lower-case name; `secrets` are all that are live, in any order; `now` is in
/// Unix seconds. The Standard Webhooks trio is checked if `webhook-signature` is present, else the first vendor header
/// that is. The signature chosen decides alone: one that is present and wrong is an error whatever the others say, or
/// a forger could pick the weakest.
///
/// Stricter than most libraries in the timestamp, which is plain decimal digits: no sign, blank or fraction.
///
/// # Errors
/// See [`VerifyError`]. The timestamp is judged before the signature, as the Standard Webhooks libraries do.
pub fn verify_webhook(
    body: &[u8],
    header: &dyn Fn(&str) -> Option<String>,
    secrets: &[Secret],
    now: u64,
    tolerance_seconds: u64,
) -> Result<Verified, VerifyError> {
    let secrets: Vec<&Secret> = usable(secrets).collect();
    if secrets.is_empty() {
        return Err(VerifyError::NoSecret);
    }
    if let Some(signature) = header(WEBHOOK_SIGNATURE) {
        return verify_standard(body, header, &signature, &secrets, now, tolerance_seconds);
    }
    let vendors = [(Scheme::ScreenshotOne, SCREENSHOTONE_SIGNATURE), (Scheme::ScreenshotMax, SCREENSHOTMAX_SIGNATURE)];
    for (scheme, name) in vendors {
        let Some(signature) = header(name) else { continue };
        let given = parse_hex(&signature).ok_or(VerifyError::MalformedHeader(name))?;
        let keys = secrets.iter().map(|secret| secret.expose().as_bytes());
        return if any_made(keys, &[body], &[given]) {
            Ok(Verified { scheme, id: None, timestamp: None })
        } else {
            Err(VerifyError::WrongSignature)
        };
    }
    Err(VerifyError::MissingSignature)
}

fn verify_standard(
    body: &[u8],
    header: &dyn Fn(&str) -> Option<String>,
    signature: &str,
    secrets: &[&Secret],
    now: u64,
    tolerance_seconds: u64,
) -> Result<Verified, VerifyError> {
    let required = |name| header(name).filter(|value| !value.is_empty()).ok_or(VerifyError::MissingHeader(name));
    let id = required(WEBHOOK_ID)?;
    let timestamp_text = required(WEBHOOK_TIMESTAMP)?;
    let timestamp = parse_decimal(&timestamp_text).ok_or(VerifyError::MalformedHeader(WEBHOOK_TIMESTAMP))?;

    let (past, future) = (now.saturating_sub(timestamp), timestamp.saturating_sub(now));
    if past > tolerance_seconds {
        return Err(VerifyError::TimestampTooOld { seconds: past, tolerance_seconds });
    }
    if future > tolerance_seconds {
        return Err(VerifyError::TimestampTooNew { seconds: future, tolerance_seconds });
    }

    // Entries of other versions (`v1a` is ed25519) and unreadable ones are passed over, as the specification has it:
    // a sender may add schemes that this receiver does not know.
    let given: Vec<[u8; 32]> = signature.split(' ').filter_map(parse_standard_entry).collect();
    let keys: Vec<Zeroizing<Vec<u8>>> = secrets.iter().map(|secret| standard_bytes(secret)).collect();
    if any_made(keys.iter().map(|key| key.as_slice()), &standard_text(&id, &timestamp_text, body), &given) {
        Ok(Verified { scheme: Scheme::StandardWebhooks, id: Some(id), timestamp: Some(timestamp) })
    } else {
        Err(VerifyError::WrongSignature)
    }
}

fn usable(secrets: &[Secret]) -> impl Iterator<Item = &Secret> {
    secrets.iter().filter(|secret| is_usable(secret))
}

fn standard_text<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

/// `v1,<base64 of 32 bytes>`, padded, or nothing.
fn parse_standard_entry(entry: &str) -> Option<[u8; 32]> {
    BASE64.decode(entry.strip_prefix("v1,")?).ok()?.try_into().ok()
}

/// 64 hex digits of either case, or nothing.
pub(crate) fn parse_hex(signature: &str) -> Option<[u8; 32]> {
    let mut mac = [0u8; 32];
    hex::decode_to_slice(signature, &mut mac).ok().map(|()| mac)
}

/// A number in its one decimal spelling, or nothing: what is signed as a number must have no second spelling.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

/// Whether one of the keys made one of the given MACs over the parts.
///
/// Takes the same time whichever matches. Without any key it still computes one MAC, so that "no such key" takes the
/// time of "wrong signature". An empty key matches nothing.
pub(crate) fn any_made<'k>(keys: impl IntoIterator<Item = &'k [u8]>, parts: &[&[u8]], given: &[[u8; 32]]) -> bool {
    let mut found = Choice::from(0);
    let mut tried = false;
    for key in keys.into_iter().filter(|key| !key.is_empty()) {
        tried = true;
        let made = hmac_sha256(key, parts);
        for mac in given {
            found |= made.ct_eq(mac);
        }
    }
    if !tried {
        std::hint::black_box(hmac_sha256(b"nobody's key", parts));
    }
    found.into()
}
