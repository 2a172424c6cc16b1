//! A key as it is kept, whatever it is kept in: its secrets sealed.

use snaphook_shared::key::{KeyLimits, KeyRecord, PreviousSecret};

use super::secrets::RootKey;
use crate::domain::operator::{KeySummary, NewKey};
use crate::domain::ports::QueueError;

/// Old secrets that may be good at the same time: each is one more signature in every webhook.
pub(super) const PREVIOUS_MAX: u64 = 10;

/// A key's row.
pub(super) struct KeyRow {
    pub(super) access_key: String,
    pub(super) name: String,
    pub(super) secret: Vec<u8>,
    /// With their ends, the newest first.
    pub(super) previous_secrets: Vec<(Vec<u8>, u64)>,
    pub(super) require_signed: bool,
    pub(super) limits: KeyLimits,
    pub(super) created_ms: u64,
    pub(super) revoked_ms: Option<u64>,
}

impl KeyRow {
    pub(super) fn new(key: NewKey, root_key: &RootKey, now_ms: u64) -> Result<KeyRow, QueueError> {
        Ok(KeyRow {
            secret: root_key.seal_for(&key.access_key, &key.secret)?,
            access_key: key.access_key,
            name: key.name,
            previous_secrets: Vec::new(),
            require_signed: key.require_signed,
            limits: key.limits,
            created_ms: now_ms,
            revoked_ms: None,
        })
    }

    pub(super) fn into_summary(self) -> KeySummary {
        KeySummary {
            access_key: self.access_key,
            name: self.name,
            require_signed: self.require_signed,
            limits: self.limits,
            created_ms: self.created_ms,
            previous_until_ms: self.previous_secrets.iter().map(|(_, until_ms)| *until_ms).max(),
            revoked_ms: self.revoked_ms,
        }
    }

    /// With its secrets opened.
    pub(super) fn into_record(self, root_key: &RootKey) -> Result<KeyRecord, QueueError> {
        let previous = |(sealed, until_ms): &(Vec<u8>, u64)| {
            let secret_key = root_key.open_for(&self.access_key, sealed)?;
            Ok(PreviousSecret { secret_key, valid_until: until_ms / 1000 })
        };
        let previous_secrets = self.previous_secrets.iter().map(previous).collect::<Result<_, QueueError>>()?;
        Ok(KeyRecord {
            secret_key: root_key.open_for(&self.access_key, &self.secret)?,
            previous_secrets,
            require_signed: self.require_signed,
            limits: self.limits,
            revoked: self.revoked_ms.is_some(),
            access_key: self.access_key,
        })
    }
}
