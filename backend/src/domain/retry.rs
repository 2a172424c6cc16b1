//! When something is tried again. Pure: the clock and the dice are arguments.

use std::time::Duration;

use super::failure::Failure;

/// Attempts of a render that may fail, the first one included. Those that ended with a crash of ours do not count.
pub const RENDER_ATTEMPTS_MAX: u32 = 4;

/// Attempts that failed by a fault of this installation and are not counted; from then on they are. With the pauses below
/// that is more than a day.
pub const POSTPONEMENTS_MAX: u32 = 1_000;

/// How long an endpoint may fail, with no success in between, until nothing more is sent to it.
pub const ENDPOINT_PATIENCE: Duration = Duration::from_secs(5 * 24 * 3600);

/// A receiver that throttles or is restarting gets at least this pause.
const THROTTLED_PAUSE_S: u64 = 60;

/// How long a request waits before its next attempt, after so many failures.
pub fn render_delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::from_secs(1),
        2 => Duration::from_secs(5),
        _ => Duration::from_secs(30),
    }
}

/// The pause before a failed render is tried again; None if it is not. `failures` and `postponed` count the attempts before.
pub fn next_render(failure: &Failure, failures: u32, postponed: u32) -> Option<Duration> {
    if failure.ours && postponed < POSTPONEMENTS_MAX {
        return Some(postponement(postponed));
    }
    (failure.retryable && failures + 1 < RENDER_ATTEMPTS_MAX).then(|| render_delay(failures + 1))
}

/// How long a request or a delivery waits that failed by a fault of this installation, for the n-th time.
pub fn postponement(postponed: u32) -> Duration {
    Duration::from_secs(2 << postponed.min(5)).min(Duration::from_secs(60))
}

/// The pause after the `attempt`-th attempt (from 1) of a webhook, moved by up to ±20 % by `dice` (0..=1).
/// None when the schedule is over.
///
/// `schedule` holds the pause before each attempt in seconds, so its first entry is that of the first attempt.
/// `throttled` says that the receiver wants fewer requests; then no pause is shorter than a minute. `retry_after` is the
/// receiver's wish in seconds, honoured between that pause and twice as long.
pub fn webhook_delay(
    schedule: &[u64],
    attempt: u32,
    dice: f64,
    throttled: bool,
    retry_after: Option<u64>,
) -> Option<Duration> {
    let floor = if throttled { THROTTLED_PAUSE_S } else { 0 };
    let planned = (*schedule.get(attempt as usize)?).max(floor) as f64;
    let jittered = (planned * (0.8 + 0.4 * dice.clamp(0.0, 1.0))).max(floor as f64);
    let wished = retry_after.map(|seconds| (seconds as f64).clamp(planned, planned * 2.0));
    Some(Duration::from_secs_f64(wished.unwrap_or(jittered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_schedule_is_followed_to_its_end() {
        let schedule = [0, 5, 300];
        assert_eq!(webhook_delay(&schedule, 1, 0.5, false, None), Some(Duration::from_secs(5)));
        assert_eq!(webhook_delay(&schedule, 2, 0.0, false, None), Some(Duration::from_secs(240)));
        assert_eq!(webhook_delay(&schedule, 2, 1.0, false, None), Some(Duration::from_secs(360)));
        assert_eq!(webhook_delay(&schedule, 3, 0.5, false, None), None);
    }

    #[test]
    fn a_receiver_may_ask_for_up_to_twice_the_pause() {
        let schedule = [0, 100];
        assert_eq!(webhook_delay(&schedule, 1, 0.5, false, Some(1)), Some(Duration::from_secs(100)));
        assert_eq!(webhook_delay(&schedule, 1, 0.5, false, Some(150)), Some(Duration::from_secs(150)));
        assert_eq!(webhook_delay(&schedule, 1, 0.5, false, Some(u64::MAX)), Some(Duration::from_secs(200)));
    }

    #[test]
    fn a_receiver_that_throttles_gets_a_minute_at_least() {
        let schedule = [0, 5, 300];
        assert_eq!(webhook_delay(&schedule, 1, 0.0, true, None), Some(Duration::from_secs(60)));
        assert_eq!(webhook_delay(&schedule, 1, 0.0, true, Some(90)), Some(Duration::from_secs(90)));
        assert_eq!(webhook_delay(&schedule, 1, 0.0, true, Some(9_000)), Some(Duration::from_secs(120)));
        assert_eq!(webhook_delay(&schedule, 2, 1.0, true, None), Some(Duration::from_secs(360)));
        assert_eq!(webhook_delay(&schedule, 3, 0.5, true, Some(1)), None);
    }

    #[test]
    fn postponements_grow_to_a_minute() {
        let pauses: Vec<u64> = (0..8).map(|postponed| postponement(postponed).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(postponement(u32::MAX), Duration::from_secs(60));
    }
}
