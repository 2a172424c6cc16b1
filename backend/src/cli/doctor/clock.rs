//! Whether the clock is right: by the age of this version, by what was written, and by other machines' clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Finding;
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::run;

/// Nobody runs this version before it was made (2026-11-01, Unix milliseconds).
const MADE_MS: u64 = 1_793_491_200_000;
/// Further off than what an answer's way and its rounding explain.
const NOTABLE: Duration = Duration::from_secs(30);
/// Receivers refuse what is further off, as Standard Webhooks libraries have it.
const REFUSED: Duration = Duration::from_secs(300);

/// What another machine's clock said, and ours when its answer was there (Unix milliseconds).
#[derive(Clone, Copy, Debug)]
pub(super) struct OtherClock {
    pub(super) whose: &'static str,
    pub(super) theirs_ms: u64,
    pub(super) ours_ms: u64,
}

impl OtherClock {
    pub(super) fn now(whose: &'static str, theirs_ms: u64) -> OtherClock {
        OtherClock { whose, theirs_ms, ours_ms: Clock::default().now_ms() }
    }
}

pub(super) fn look(config: &Config, others: &[OtherClock]) -> Finding {
    let written = std::fs::metadata(config.data_dir.join(run::DATABASE)).and_then(|database| database.modified());
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok();
    let written_ms = written.ok().and_then(since_epoch).and_then(|time| u64::try_from(time.as_millis()).ok());
    judge(Clock::default().now_ms(), written_ms, others)
}

/// `written_ms` is when the database was last written.
fn judge(now_ms: u64, written_ms: Option<u64>, others: &[OtherClock]) -> Finding {
    let mend = "set the clock and let NTP keep it: receivers refuse webhooks that are five minutes off";
    if now_ms < MADE_MS {
        return Finding::fail("clock", format!("it says {}, before this version was made", rfc3339(now_ms)), mend);
    }
    let off = |other: &OtherClock| Duration::from_millis(other.theirs_ms.abs_diff(other.ours_ms));
    if let Some(other) = others.iter().max_by_key(|other| off(other)).filter(|other| off(other) > NOTABLE) {
        let direction = if other.theirs_ms > other.ours_ms { "behind" } else { "ahead of" };
        let says = format!("it is {} s {direction} the clock of {}", off(other).as_secs(), other.whose);
        return match off(other) > REFUSED {
            true => Finding::fail("clock", says, mend),
            false => Finding::warn("clock", says, mend),
        };
    }
    if written_ms.is_some_and(|written_ms| written_ms > now_ms + 4 * NOTABLE.as_millis() as u64) {
        return Finding::warn("clock", "the database was written in the future: the clock has been set back", mend);
    }
    let agrees: Vec<&str> = others.iter().map(|other| other.whose).collect();
    match agrees.is_empty() {
        true => Finding::ok("clock", rfc3339(now_ms)),
        false => Finding::ok("clock", format!("{}, like {}", rfc3339(now_ms), agrees.join(" and "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const NOW: u64 = MADE_MS + 86_400_000;

    fn other(ahead_s: i64) -> OtherClock {
        OtherClock { whose: "the database server", theirs_ms: NOW.saturating_add_signed(ahead_s * 1000), ours_ms: NOW }
    }

    #[test]
    fn a_clock_from_before_this_version_is_wrong() {
        assert_eq!(judge(MADE_MS - 1, None, &[]).state, State::Fail);
        assert_eq!(judge(MADE_MS, None, &[]).state, State::Ok);
    }

    #[test]
    fn a_database_from_the_future_is_noted() {
        assert_eq!(judge(NOW, Some(NOW + 120_000), &[]).state, State::Ok);
        let found = judge(NOW, Some(NOW + 120_001), &[]);
        assert!(found.state == State::Warn && found.says.contains("set back"), "{found:?}");
    }

    #[test]
    fn other_clocks_are_believed_and_the_worst_of_them_counts() {
        for (ahead_s, state) in [
            (0, State::Ok),
            (30, State::Ok),
            (31, State::Warn),
            (-300, State::Warn),
            (301, State::Fail),
            (-301, State::Fail),
        ] {
            let found = judge(NOW, None, &[other(1), other(ahead_s), other(-2)]);
            assert_eq!(found.state, state, "{ahead_s}: {found:?}");
        }
        assert!(judge(NOW, None, &[other(40)]).says.contains("40 s behind the clock of the database server"));
        assert!(judge(NOW, None, &[other(-40)]).says.contains("40 s ahead of"));
        assert!(judge(NOW, None, &[other(0)]).says.ends_with("like the database server"));
    }
}
