//! The signed hand-over from the edge to the backend.
//!
//! The edge authenticates and admits a request, wraps it into an [`Envelope`], and posts that under a seal: four
//! headers that bind method, path, query, body, time, a nonce and the key's id to a secret which only the edge and the
//! backend know. The format is our own; `golden/signature_vectors.json`, `internal`, holds its bytes. The signed text:
//!
//! ```text
//! v1
//! POST
//! /internal/v1/requests
//! <raw query without `?`, here empty>
//! <SHA-256 of the body, lower-case hex>
//! <Unix seconds>
//! <nonce>
//! <key id>
//! ```
//!
//! with a line feed between the lines and none at the end; the signature is its HMAC-SHA256 in lower-case hex.
//!
//! A seal does not say that it was never used before. It need not: the request id inside an envelope is idempotent,
//! so the same envelope again within [`TOLERANCE_SECONDS`] finds the request it made the first time. The nonce keeps
//! two seals of one second apart, for whoever wants to refuse a second use outright.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dialect::to_json;
use crate::secret::Secret;
use crate::signing::{any_made, hmac_sha256, parse_decimal, parse_hex, sha256_hex};

/// Where the edge posts envelopes.
pub const REQUESTS_PATH: &str = "/internal/v1/requests";
/// Where the edge gets a key's record; the access key follows.
pub const KEYS_PATH: &str = "/internal/v1/keys/";

/// Unix seconds at which the seal was made.
pub const TIMESTAMP_HEADER: &str = "x-snaphook-timestamp";
/// 16 to 64 of `0-9 A-Z a-z _ -`, never used twice.
pub const NONCE_HEADER: &str = "x-snaphook-nonce";
/// Which secret made the seal.
pub const KEY_ID_HEADER: &str = "x-snaphook-key-id";
/// 64 hex digits.
pub const SIGNATURE_HEADER: &str = "x-snaphook-signature";

/// How far the two clocks may be apart, either way.
pub const TOLERANCE_SECONDS: u64 = 300;

/// The shortest nonce: 16 characters of 64 are 96 bits, enough never to meet by chance.
const NONCE_LENGTH_MIN: usize = 16;
/// The longest nonce: somebody may have to remember them.
const NONCE_LENGTH_MAX: usize = 64;

/// One admitted request on its way to the backend; JSON, `content-type: application/json`.
///
/// Fields that this version does not know are ignored, so the edge may be updated first. `Debug` leaves out whatever
/// a caller may have put a secret into.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The id under which both sides log this request; also the caller's `x-request-id` in the answer.
    pub request_id: String,
    /// When the edge had the request's head, in Unix milliseconds.
    pub received_at_ms: u64,
    /// The public id of the caller's key, already verified by the edge.
    pub access_key: String,
    /// Upper case, as sent: `GET`, `POST`.
    pub method: String,
    /// The caller's path, `/take` for one; it decides the dialect.
    pub path: String,
    /// The caller's raw query string without `?`; may be empty.
    pub query: String,
    /// The caller's `content-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The caller's `idempotency-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The caller's `priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// W3C trace context, from the caller or the edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// For how many milliseconds the caller of a synchronous request can be held. What is not ready by then goes on as a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The caller's body as it came; empty for GET.
    pub body: String,
}

impl Envelope {
    /// As it is posted.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An access key alone lets anyone render on its owner's account, and queries and bodies carry cookies,
        // passwords and storage secrets.
        f.debug_struct("Envelope")
            .field("request_id", &self.request_id)
            .field("received_at_ms", &self.received_at_ms)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query_bytes", &self.query.len())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// A body on its way under a seal.
#[derive(Clone, Copy)]
pub enum SealedBody<'a> {
    Bytes(&'a [u8]),
    /// Of whoever has faster means than this crate to hash a large one.
    Sha256([u8; 32]),
}

/// Everything a seal is over.
#[derive(Clone, Copy)]
pub struct Seal<'a> {
    /// Upper case, as sent.
    pub method: &'a str,
    /// As sent, from the first `/`.
    pub path: &'a str,
    /// Raw, without `?`; empty when there is none.
    pub query: &'a str,
    /// The bytes posted; empty for GET.
    pub body: SealedBody<'a>,
    /// Unix seconds.
    pub timestamp: u64,
    /// 16 to 64 of `0-9 A-Z a-z _ -`, never used twice.
    pub nonce: &'a str,
    /// Which secret it is made with; the signed text includes it, so a seal cannot be moved to another key.
    pub key_id: &'a str,
}

impl Seal<'_> {
    /// The signed text.
    pub fn canonical(&self) -> String {
        let Self { method, path, query, body, timestamp, nonce, key_id } = self;
        let body = match body {
            SealedBody::Bytes(bytes) => &sha256_hex(bytes),
            SealedBody::Sha256(digest) => &hex::encode(digest),
        };
        format!("v1\n{method}\n{path}\n{query}\n{body}\n{timestamp}\n{nonce}\n{key_id}")
    }

    /// The signature under a key of any bytes: 64 lower-case hex digits.
    pub fn signature(&self, key: &[u8]) -> String {
        hex::encode(hmac_sha256(key, &[self.canonical().as_bytes()]))
    }

    /// The four headers to send.
    pub fn headers(&self, secret: &Secret) -> [(&'static str, String); 4] {
        [
            (TIMESTAMP_HEADER, self.timestamp.to_string()),
            (NONCE_HEADER, self.nonce.to_owned()),
            (KEY_ID_HEADER, self.key_id.to_owned()),
            (SIGNATURE_HEADER, self.signature(secret.expose().as_bytes())),
        ]
    }

    /// Whether one of the keys made this signature; constant time, hex digits of either case.
    pub fn is_signed_by<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>, signature: &str) -> bool {
        parse_hex(signature).is_some_and(|given| any_made(keys, &[self.canonical().as_bytes()], &[given]))
    }

    /// Whether no field but the body can reach into its neighbour's line, and the nonce is of its format.
    fn check_format(&self) -> Result<(), EnvelopeError> {
        let one_line = |text: &str| !text.contains(['\n', '\r']);
        if !(one_line(self.method) && one_line(self.path) && one_line(self.query)) {
            return Err(EnvelopeError::MalformedTarget);
        }
        if self.key_id.is_empty() || !one_line(self.key_id) {
            return Err(EnvelopeError::MalformedHeader(KEY_ID_HEADER));
        }
        let nonce_ok = (NONCE_LENGTH_MIN..=NONCE_LENGTH_MAX).contains(&self.nonce.len())
            && self.nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if nonce_ok { Ok(()) } else { Err(EnvelopeError::MalformedHeader(NONCE_HEADER)) }
    }
}

/// Why the backend refused what claims to come from the edge. For the log: the answer is the same 401 for all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The header named here is not there.
    #[error("`{0}` is missing")]
    MissingHeader(&'static str),
    /// The header named here is not of its format.
    #[error("`{0}` is malformed")]
    MalformedHeader(&'static str),
    /// Method, path or query holds a line break, which no HTTP request line can.
    #[error("the method, path or query holds a line break")]
    MalformedTarget,
    /// Made too long ago, or the clocks are apart.
    #[error("the seal is {seconds} s old; {TOLERANCE_SECONDS} s are allowed")]
    TooOld {
        /// Its age.
        seconds: u64,
    },
    /// Made in the future: the clocks are apart.
    #[error("the seal is {seconds} s in the future; {TOLERANCE_SECONDS} s are allowed")]
    TooNew {
        /// How far in the future.
        seconds: u64,
    },
    /// No live secret has the key id that was given.
    #[error("no live secret has this key id")]
    UnknownKey,
    /// The signature is not of these bytes under that secret.
    #[error("the signature does not match")]
    WrongSignature,
}

/// Seals a request to the backend: the four headers to send with it.
///
/// `timestamp` is in Unix seconds. `nonce` is 16 to 64 of `0-9 A-Z a-z _ -` and never used twice; [`open`] refuses any
/// other, and any line break in the rest.
#[expect(clippy::too_many_arguments, reason = "each is one line of the signed text, in its order")]
pub fn seal(
    secret: &Secret,
    key_id: &str,
    method: &str,
    path: &str,
    query: &str,
    body: &[u8],
    timestamp: u64,
    nonce: &str,
) -> [(&'static str, String); 4] {
    Seal { method, path, query, body: SealedBody::Bytes(body), timestamp, nonce, key_id }.headers(secret)
}

/// Checks the seal of a request that reached the backend.
///
/// `secrets` are pairs of key id and secret: one, or two while a rotation is under way. `header` gives a header's value
/// for its lower-case name; `now` is in Unix seconds. What was sealed may still come twice: see the module's text.
///
/// # Errors
/// See [`EnvelopeError`].
pub fn open(
    secrets: &[(&str, &Secret)],
    method: &str,
    path: &str,
    query: &str,
    body: &[u8],
    header: &dyn Fn(&str) -> Option<String>,
    now: u64,
) -> Result<(), EnvelopeError> {
    let required = |name| header(name).ok_or(EnvelopeError::MissingHeader(name));
    let timestamp_text = required(TIMESTAMP_HEADER)?;
    let nonce = required(NONCE_HEADER)?;
    let key_id = required(KEY_ID_HEADER)?;
    let signature = required(SIGNATURE_HEADER)?;

    let timestamp = parse_decimal(&timestamp_text).ok_or(EnvelopeError::MalformedHeader(TIMESTAMP_HEADER))?;
    let body = SealedBody::Bytes(body);
    let seal = Seal { method, path, query, body, timestamp, nonce: &nonce, key_id: &key_id };
    seal.check_format()?;

    let (past, future) = (now.saturating_sub(timestamp), timestamp.saturating_sub(now));
    if past > TOLERANCE_SECONDS {
        return Err(EnvelopeError::TooOld { seconds: past });
    }
    if future > TOLERANCE_SECONDS {
        return Err(EnvelopeError::TooNew { seconds: future });
    }

    let keys: Vec<&[u8]> =
        secrets.iter().filter(|(id, _)| *id == key_id).map(|(_, secret)| secret.expose().as_bytes()).collect();
    let known = !keys.is_empty();
    match (seal.is_signed_by(keys, &signature), known) {
        (true, _) => Ok(()),
        (false, true) => Err(EnvelopeError::WrongSignature),
        (false, false) => Err(EnvelopeError::UnknownKey),
    }
}
