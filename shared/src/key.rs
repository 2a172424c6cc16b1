//! A key record: who may call, with which secret, and within which limits.

use serde::{Deserialize, Serialize};

use crate::limits::ACCESS_KEY_CHARACTERS_MAX;
use crate::signing::SecretKey;

/// What the service knows of one access key. The edge gets it from the backend as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRecord {
    pub access_key: String,
    /// Signs webhooks and links.
    pub secret_key: SecretKey,
    /// The secrets before the last rotations, the newest first, each good until its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous_secrets: Vec<PreviousSecret>,
    /// GET requests must be signed links.
    #[serde(default)]
    pub require_signed: bool,
    #[serde(default)]
    pub limits: KeyLimits,
    /// Revoked keys stay known, so that their requests can still be listed.
    #[serde(default)]
    pub revoked: bool,
}

/// How much a key may use. None: as much as it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    /// Successful renders in a calendar month (UTC).
    pub monthly_quota: Option<u64>,
    /// Starts of requests in a minute of the clock; the vendors call it concurrency.
    pub requests_per_minute: Option<u64>,
    /// Renders at the same time.
    pub concurrency: Option<u64>,
}

/// A rotated secret during its overlap.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviousSecret {
    pub secret_key: SecretKey,
    /// Unix seconds; from then on it verifies nothing.
    pub valid_until: u64,
}

impl KeyRecord {
    /// The secrets that verify and sign at `now` (Unix seconds), the newest first.
    pub fn live_secrets(&self, now: u64) -> Vec<SecretKey> {
        let live = self.previous_secrets.iter().filter(|previous| now < previous.valid_until);
        std::iter::once(&self.secret_key).chain(live.map(|previous| &previous.secret_key)).cloned().collect()
    }
}

/// Whether a text can be an access key at all; what cannot be is refused without a look-up.
pub fn is_access_key(text: &str) -> bool {
    (1..=ACCESS_KEY_CHARACTERS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
