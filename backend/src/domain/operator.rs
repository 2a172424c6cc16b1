//! What the operator of an installation sees and does, of all keys, beyond the ports that the work itself needs.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use snaphook_shared::key::KeyLimits;
use snaphook_shared::secret::Secret;

use super::delivery::{DeliveryBody, DeliveryView};
use super::job::NewRequest;
use super::ports::QueueError;

/// A key as the operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KeySummary {
    pub access_key: String,
    pub name: String,
    pub require_signed: bool,
    #[serde(flatten)]
    pub limits: KeyLimits,
    pub created_ms: u64,
    /// When the last of the old secrets ends or has ended, if there are any.
    pub previous_until_ms: Option<u64>,
    pub revoked_ms: Option<u64>,
}

/// A key to be kept.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub access_key: String,
    pub secret: Secret,
    /// What it is for.
    pub name: String,
    pub require_signed: bool,
    pub limits: KeyLimits,
}

impl NewKey {
    /// Without a name and without limits.
    pub fn unlimited(access_key: impl Into<String>, secret: impl Into<String>) -> NewKey {
        NewKey {
            access_key: access_key.into(),
            secret: Secret::new(secret),
            name: String::new(),
            require_signed: false,
            limits: KeyLimits::default(),
        }
    }
}

/// How a rotation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    Done,
    /// There is no such live key.
    Unknown,
    /// As many old secrets as may be are still good.
    TooMany,
}

/// A request as it was accepted, and what only the operator is told.
#[derive(Clone, Debug)]
pub struct RequestDetail {
    /// Its secrets left out.
    pub request: NewRequest,
    pub error_cause: Option<String>,
    pub render_ms: Option<u64>,
}

/// A delivery with what is sent.
#[derive(Clone, Debug)]
pub struct DeliveryDetail {
    pub view: DeliveryView,
    pub access_key: String,
    /// Whether each attempt is signed.
    pub sign: bool,
    /// But for the signatures, which are made for each attempt.
    pub headers: Vec<(String, String)>,
    pub body: DeliveryBody,
}

/// What was done in one span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageSpan {
    pub start_ms: u64,
    pub requests: u64,
    pub done: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub times: RenderTimes,
}

/// The same for one key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyUsage {
    pub access_key: String,
    pub usage: UsageSpan,
}

/// Hours whose figures are remembered: 400 days.
pub const USAGE_KEPT_HOURS: u64 = 400 * 24;

/// Render times, counted in classes; see [`class_end`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderTimes(Vec<(u64, u64)>);

/// Where a class of render times ends that begins there (milliseconds). The classes are an eighth wide, and five milliseconds
/// where that is less; the schema has the same rule.
pub fn class_end(from_ms: u64) -> u64 {
    from_ms + (from_ms / 8).max(5)
}

impl RenderTimes {
    /// Adds renders of the class that begins there.
    pub fn add(&mut self, from_ms: u64, count: u64) {
        match self.0.binary_search_by_key(&from_ms, |(from, _)| *from) {
            Ok(index) => self.0[index].1 += count,
            Err(index) => self.0.insert(index, (from_ms, count)),
        }
    }

    pub fn add_all(&mut self, other: &RenderTimes) {
        other.0.iter().for_each(|(from_ms, count)| self.add(*from_ms, *count));
    }

    /// How many renders there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The time that this share of the renders did not exceed, as exact as the classes are. None without renders.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let wanted = share * self.count() as f64;
        let mut before = 0.0;
        for (from_ms, count) in &self.0 {
            let count = *count as f64;
            if before + count >= wanted && count > 0.0 {
                let width = (class_end(*from_ms) - from_ms) as f64;
                return Some(from_ms + (width * (wanted - before) / count).round() as u64);
            }
            before += count;
        }
        None
    }
}

/// What is kept, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub queued: u64,
    /// Since when the oldest of them waits.
    pub oldest_queued_ms: Option<u64>,
    pub rendering: u64,
    /// Counted up to [`COUNT_MAX`], as the next one.
    pub deliveries_waiting: u64,
    pub deliveries_dead: u64,
    /// When the delivery was due that is due the longest.
    pub oldest_due_ms: Option<u64>,
    pub files: u64,
    pub file_bytes: u64,
    pub database_bytes: u64,
}

/// Files in the store of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHoldings {
    pub access_key: String,
    pub files: u64,
    pub bytes: u64,
}

/// A file in the store, and when its time ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiringFile {
    pub request_id: String,
    pub bytes: u64,
    pub expires_ms: u64,
}

/// What is in the store, looked through row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Of those files that stay the longest; the most bytes first.
    pub by_key: Vec<KeyHoldings>,
    /// Those that go next, the first of them first.
    pub expiring: Vec<ExpiringFile>,
}

/// Beyond it one only wants to know that it is many.
pub const COUNT_MAX: u64 = 100_000;

/// The operator's view of all keys.
#[async_trait]
pub trait Operator: Send + Sync {
    async fn keys(&self) -> Result<Vec<KeySummary>, QueueError>;
    /// Keeps a key; false if the access key is taken.
    async fn add_key(&self, key: NewKey, now_ms: u64) -> Result<bool, QueueError>;
    /// Gives a key a new secret; the one before stays good until `previous_until_ms`, and no older one for longer.
    async fn rotate(
        &self,
        access_key: &str,
        secret: &Secret,
        previous_until_ms: u64,
        now_ms: u64,
    ) -> Result<Rotation, QueueError>;
    /// Ends a key; false if there is no such live key, as below.
    async fn revoke(&self, access_key: &str, now_ms: u64) -> Result<bool, QueueError>;
    async fn set_limits(&self, access_key: &str, limits: KeyLimits) -> Result<bool, QueueError>;
    async fn set_require_signed(&self, access_key: &str, required: bool) -> Result<bool, QueueError>;

    async fn request_detail(&self, id: &str) -> Result<Option<RequestDetail>, QueueError>;
    async fn delivery_detail(&self, id: &str) -> Result<Option<DeliveryDetail>, QueueError>;

    /// What was done from one time to another in spans of so many hours, the oldest first; spans without anything are left
    /// out. The last span may still go on.
    async fn usage_over_time(
        &self,
        access_key: Option<&str>,
        from_ms: u64,
        to_ms: u64,
        span_hours: u64,
    ) -> Result<Vec<UsageSpan>, QueueError>;
    /// What each key has done in that time, the busiest first.
    async fn usage_by_key(&self, from_ms: u64, to_ms: u64) -> Result<Vec<KeyUsage>, QueueError>;
    async fn holdings(&self) -> Result<Holdings, QueueError>;
    /// What is in the store by key, of at most `counted` files, and at most `expiring` of those that go next.
    async fn kept(&self, counted: u64, expiring: u32) -> Result<Kept, QueueError>;
}

/// The system gave no randomness, so that no secret can be made.
#[derive(Debug, thiserror::Error)]
#[error("no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

/// Access keys are typed into shells and URLs, where a leading hyphen reads as an option.
pub fn new_access_key() -> Result<String, NoRandomness> {
    loop {
        let text = random_text(10)?;
        if !text.starts_with('-') {
            return Ok(text);
        }
    }
}

/// 256 random bits.
pub fn new_secret() -> Result<Secret, NoRandomness> {
    Ok(Secret::new(random_text(32)?))
}

/// So many random bytes, in letters, digits, `-` and `_`.
pub fn random_text(bytes: usize) -> Result<String, NoRandomness> {
    let mut random = zeroize::Zeroizing::new(vec![0; bytes]);
    getrandom::fill(&mut random).map_err(NoRandomness)?;
    Ok(BASE64_URL.encode(&*random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_as_exact_as_the_classes() {
        let mut times = RenderTimes::default();
        assert_eq!(times.percentile(0.5), None);
        let class_of = |ms: u64| {
            let mut from = 0;
            while class_end(from) <= ms {
                from = class_end(from);
            }
            from
        };
        for ms in 1..=10_000_u64 {
            times.add(class_of(ms), 1);
        }
        for (share, exact) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.01, 100.0), (1.0, 10_000.0)] {
            let found = times.percentile(share).unwrap() as f64;
            assert!((found / exact - 1.0).abs() < 0.13, "{share}: {found}");
        }
        let mut one = RenderTimes::default();
        one.add(class_of(700), 1);
        let all = times.percentile(0.5);
        times.add_all(&one);
        assert_eq!(times.percentile(0.5).unwrap() / 10, all.unwrap() / 10);
        assert!((600..800).contains(&one.percentile(0.95).unwrap()));
    }

    #[test]
    fn random_texts_differ_and_access_keys_begin_with_no_hyphen() {
        assert_ne!(random_text(32).unwrap(), random_text(32).unwrap());
        assert!((0..200).all(|_| !new_access_key().unwrap().starts_with('-')));
    }
}
