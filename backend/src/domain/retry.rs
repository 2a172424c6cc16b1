//! When something is tried again. Pure: the clock and the dice are arguments.

use std::time::Duration;

/// Attempts of a render that may fail, the first one included. Those that ended with a crash of ours do not count.
pub const RENDER_ATTEMPTS_MAX: u32 = 4;

/// How long a request waits before its next attempt, after so many failures.
pub fn render_delay(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::from_secs(1),
        2 => Duration::from_secs(5),
        _ => Duration::from_secs(30),
    }
}

/// The pause after the `attempt`-th attempt (from 1) of a webhook, moved by up to ±20 % by `dice` (0..=1).
/// None when the schedule is over.
///
/// `schedule` holds the pause before each attempt in seconds, so its first entry is that of the first attempt.
/// `retry_after` is the receiver's wish in seconds, honoured between the planned pause and twice as long.
pub fn webhook_delay(schedule: &[u64], attempt: u32, dice: f64, retry_after: Option<u64>) -> Option<Duration> {
    let planned = *schedule.get(attempt as usize)? as f64;
    let jittered = planned * (0.8 + 0.4 * dice.clamp(0.0, 1.0));
    let wished = retry_after.map(|seconds| (seconds as f64).clamp(planned, planned * 2.0));
    Some(Duration::from_secs_f64(wished.unwrap_or(jittered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhook_schedule_is_followed_to_its_end() {
        let schedule = [0, 5, 300];
        assert_eq!(webhook_delay(&schedule, 1, 0.5, None), Some(Duration::from_secs(5)));
        assert_eq!(webhook_delay(&schedule, 2, 0.0, None), Some(Duration::from_secs(240)));
        assert_eq!(webhook_delay(&schedule, 2, 1.0, None), Some(Duration::from_secs(360)));
        assert_eq!(webhook_delay(&schedule, 3, 0.5, None), None);
    }

    #[test]
    fn a_receiver_may_ask_for_up_to_twice_the_pause() {
        let schedule = [0, 100];
        assert_eq!(webhook_delay(&schedule, 1, 0.5, Some(1)), Some(Duration::from_secs(100)));
        assert_eq!(webhook_delay(&schedule, 1, 0.5, Some(150)), Some(Duration::from_secs(150)));
        assert_eq!(webhook_delay(&schedule, 1, 0.5, Some(u64::MAX)), Some(Duration::from_secs(200)));
    }
}
