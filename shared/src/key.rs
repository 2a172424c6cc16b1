//! A key record: who may call, with which secret, and within which limits.

use serde::Serialize;

use crate::json::Json;
use crate::limits::{ACCESS_KEY_CHARACTERS_MAX, SECRET_KEY_CHARACTERS_MAX};
use crate::secret::Secret;

/// What the service knows of one access key. The edge gets it from the backend as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyRecord {
    pub access_key: String,
    /// Signs webhooks and links.
    pub secret_key: Secret,
    /// The secrets before the last rotations, the newest first, each good until its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub previous_secrets: Vec<PreviousSecret>,
    /// GET requests must be signed links.
    pub require_signed: bool,
    pub limits: KeyLimits,
    /// Revoked keys stay known, so that their requests can still be listed.
    pub revoked: bool,
}

/// How much a key may use. None: as much as it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyLimits {
    /// Successful renders in a calendar month (UTC).
    pub monthly_quota: Option<u64>,
    /// Starts of requests in a minute of the clock; the vendors call it concurrency.
    pub requests_per_minute: Option<u64>,
    /// Renders at the same time.
    pub concurrency: Option<u64>,
}

/// A rotated secret during its overlap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PreviousSecret {
    pub secret_key: Secret,
    /// Unix seconds; from then on it verifies nothing.
    pub valid_until: u64,
}

impl KeyRecord {
    /// Reads what [`Serialize`] wrote. All but the key and its secret may be missing; what is there must be of its kind.
    pub fn from_json(json: &Json) -> Option<KeyRecord> {
        let flag = |name| json.get(name).map_or(Some(false), Json::bool);
        let limit = |name| match json.get("limits").and_then(|limits| limits.get(name)) {
            None | Some(Json::Null) => Some(None),
            Some(limit) => limit.whole_number().map(Some),
        };
        let secret = |json: &Json| json.get("secret_key").and_then(Json::text).map(Secret::new);
        let previous = |json| {
            let valid_until = Json::get(json, "valid_until").and_then(Json::whole_number)?;
            Some(PreviousSecret { secret_key: secret(json)?, valid_until })
        };
        let previous_secrets = json.get("previous_secrets").map_or(Some([].as_slice()), Json::list)?;
        Some(KeyRecord {
            access_key: json.get("access_key").and_then(Json::text)?.to_owned(),
            secret_key: secret(json)?,
            previous_secrets: previous_secrets.iter().map(previous).collect::<Option<_>>()?,
            require_signed: flag("require_signed")?,
            limits: KeyLimits {
                monthly_quota: limit("monthly_quota")?,
                requests_per_minute: limit("requests_per_minute")?,
                concurrency: limit("concurrency")?,
            },
            revoked: flag("revoked")?,
        })
    }

    /// The secrets that verify and sign at `now` (Unix seconds), the newest first.
    pub fn live_secrets(&self, now: u64) -> Vec<Secret> {
        let live = self.previous_secrets.iter().filter(|previous| now < previous.valid_until);
        std::iter::once(&self.secret_key).chain(live.map(|previous| &previous.secret_key)).cloned().collect()
    }
}

/// Whether a text can be an access key at all; what cannot be is refused without a look-up.
pub fn is_access_key(text: &str) -> bool {
    (1..=ACCESS_KEY_CHARACTERS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Whether a text can be a secret key: any characters, but not too many of them.
pub fn is_secret_key(text: &str) -> bool {
    (1..=SECRET_KEY_CHARACTERS_MAX).contains(&text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<KeyRecord> {
        KeyRecord::from_json(&Json::read(text).unwrap())
    }

    #[test]
    fn a_secret_key_is_counted_in_characters() {
        assert!(is_secret_key(&"€".repeat(SECRET_KEY_CHARACTERS_MAX)));
        assert!(!is_secret_key("") && !is_secret_key(&"x".repeat(SECRET_KEY_CHARACTERS_MAX + 1)));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = read(r#"{"access_key":"AK","secret_key":"a\"b"}"#).unwrap();
        assert_eq!(record.secret_key.expose(), "a\"b");
        assert!(!record.revoked && !record.require_signed && record.limits == KeyLimits::default());
        for _ in 0..2 {
            assert_eq!(read(&serde_json::to_string(&record).unwrap()).as_ref(), Some(&record));
            record.previous_secrets = vec![PreviousSecret { secret_key: Secret::new("old"), valid_until: 7 }];
            record.limits =
                KeyLimits { monthly_quota: Some(0), requests_per_minute: None, concurrency: Some(u64::MAX) };
            (record.require_signed, record.revoked) = (true, true);
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        for text in [
            "{}",
            "[]",
            r#"{"access_key":"AK"}"#,
            r#"{"access_key":"AK","secret_key":1}"#,
            r#"{"access_key":"AK","secret_key":"s","revoked":"false"}"#,
            r#"{"access_key":"AK","secret_key":"s","revoked":null}"#,
            r#"{"access_key":"AK","secret_key":"s","limits":{"concurrency":-1}}"#,
            r#"{"access_key":"AK","secret_key":"s","previous_secrets":[{"secret_key":"s"}]}"#,
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }
}
