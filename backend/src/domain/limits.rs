//! What a key may use, what it has used, and when that begins anew. Pure, but for the count of requests under way, which
//! lives and dies with the process as those requests do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use snaphook_shared::code::{Code, Problem};
use snaphook_shared::key::KeyLimits;
use snaphook_shared::limits::RETRY_AFTER_SECONDS;

const MINUTE_MS: u64 = 60_000;

/// What a key has used, read in one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub limits: KeyLimits,
    /// Renders that succeeded in this calendar month.
    pub rendered: u64,
    /// Accepted and not ended; each may still become one of the above.
    pub unfinished: u64,
    /// Requests started in this minute.
    pub started: u64,
    /// In a worker's hands or rendered for a caller who waits.
    pub under_way: u64,
}

/// Why a request is refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// The month's quota is used up, or would be once all that was accepted has succeeded.
    Quota { retry_after_s: u64 },
    /// This minute has had its requests.
    Minute { retry_after_s: u64 },
    /// As many are under way as may be.
    UnderWay,
}

impl Usage {
    /// Whether one more request may start. Only one that a caller waits for is held to what is under way: an accepted one
    /// can wait in the queue, and does.
    pub fn check(&self, waits: bool, now_ms: u64) -> Result<(), Limited> {
        if self.limits.monthly_quota.is_some_and(|quota| self.rendered + self.unfinished >= quota) {
            return Err(Limited::Quota { retry_after_s: (month_end_ms(now_ms) - now_ms).div_ceil(1000) });
        }
        if self.limits.requests_per_minute.is_some_and(|limit| self.started >= limit) {
            return Err(Limited::Minute { retry_after_s: (minute_end_ms(now_ms) - now_ms).div_ceil(1000) });
        }
        if waits && self.limits.concurrency.is_some_and(|limit| self.under_way >= limit) {
            return Err(Limited::UnderWay);
        }
        Ok(())
    }
}

impl Limited {
    pub fn problem(self) -> Problem {
        let (code, seconds) = match self {
            Limited::Quota { retry_after_s } => (Code::ScreenshotsLimitReached, retry_after_s),
            Limited::Minute { retry_after_s } => (Code::ConcurrencyLimitReached, retry_after_s),
            Limited::UnderWay => (Code::ConcurrencyLimitReached, u64::from(RETRY_AFTER_SECONDS)),
        };
        Problem { retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..Problem::new(code) }
    }
}

/// The minute that a time is in, counted from the epoch.
pub fn minute(now_ms: u64) -> u64 {
    now_ms / MINUTE_MS
}

/// When the current minute is over.
pub fn minute_end_ms(now_ms: u64) -> u64 {
    (minute(now_ms) + 1) * MINUTE_MS
}

/// The calendar month (UTC) that a time is in, as 202611.
pub fn month(now_ms: u64) -> u32 {
    let date = date(now_ms);
    u32::from(date.year().unsigned_abs()) * 100 + u32::from(date.month().unsigned_abs())
}

fn month_end_ms(now_ms: u64) -> u64 {
    let next = date(now_ms).last_of_month().tomorrow().and_then(|date| date.to_zoned(TimeZone::UTC));
    // Beyond the calendar there is no next month; then any later time will do.
    next.map_or(now_ms, |next| next.timestamp().as_millisecond().unsigned_abs()).max(now_ms)
}

fn date(now_ms: u64) -> Date {
    let ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_zoned(TimeZone::UTC).date()
}

/// How many callers of each key wait for a render in this process.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(Arc<Mutex<HashMap<String, u64>>>);

/// One of them; it is over when this is dropped, on whatever path.
#[derive(Debug)]
pub struct Place {
    all: UnderWay,
    access_key: String,
}

impl UnderWay {
    pub fn count(&self, access_key: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(access_key).copied().unwrap_or(0)
    }

    /// Of all keys that have any.
    pub fn all(&self) -> HashMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts one in.
    pub fn enter(&self, access_key: &str) -> Place {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(access_key.to_owned()).or_default() += 1;
        Place { all: self.clone(), access_key: access_key.to_owned() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.access_key) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.access_key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-12-31T23:59:30Z
    const NEW_YEARS_EVE: u64 = 1_798_761_570_000;

    #[test]
    fn months_and_minutes_end_where_the_calendar_says() {
        assert_eq!(month(NEW_YEARS_EVE), 202_612);
        assert_eq!(month(NEW_YEARS_EVE + 30_000), 202_701);
        assert_eq!(month_end_ms(NEW_YEARS_EVE), NEW_YEARS_EVE + 30_000);
        assert_eq!(minute_end_ms(NEW_YEARS_EVE), NEW_YEARS_EVE + 30_000);
        assert_eq!(month(u64::MAX), month(u64::MAX - 1));
        assert!(month_end_ms(u64::MAX) >= u64::MAX - 1);
    }

    #[test]
    fn each_limit_refuses_with_the_time_to_wait() {
        let limits = KeyLimits { monthly_quota: Some(10), requests_per_minute: Some(3), concurrency: Some(2) };
        let usage = Usage { limits, ..Usage::default() };
        assert_eq!(usage.check(true, NEW_YEARS_EVE), Ok(()));
        let full = Usage { rendered: 6, unfinished: 4, ..usage };
        assert_eq!(full.check(false, NEW_YEARS_EVE), Err(Limited::Quota { retry_after_s: 30 }));
        let busy = Usage { started: 3, ..usage };
        assert_eq!(busy.check(false, NEW_YEARS_EVE + 1), Err(Limited::Minute { retry_after_s: 30 }));
        let crowded = Usage { under_way: 2, ..usage };
        assert_eq!(crowded.check(true, NEW_YEARS_EVE), Err(Limited::UnderWay));
        assert_eq!(crowded.check(false, NEW_YEARS_EVE), Ok(()));
        assert_eq!(Limited::UnderWay.problem().retry_after, Some(RETRY_AFTER_SECONDS));
    }

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let all = UnderWay::default();
        let places = [all.enter("a"), all.enter("a"), all.enter("b")];
        assert_eq!((all.count("a"), all.count("b")), (2, 1));
        drop(places);
        assert_eq!((all.count("a"), all.0.lock().unwrap().len()), (0, 0));
    }
}
