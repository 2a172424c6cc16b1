//! When something is tried again. Pure: the clock and the dice are arguments.

use std::time::Duration;

use super::failure::Fault;

/// Attempts of a render that may fail, the first one included. Those that ended with a crash of ours do not count.
pub const RENDER_ATTEMPTS_MAX: u32 = 4;

/// The same where the browser was lost: that may have been the doing of any page in it. A page that takes every browser down
/// comes to an end by this. Attempts are counted together, whatever
/// each of them failed by.
pub const LOST_BROWSERS_MAX: u32 = 8;

/// Attempts that failed by a fault of this installation and are not counted; from then on they are. With the pauses below
/// that is more than three days.
pub const POSTPONEMENTS_MAX: u32 = 5_000;

/// Attempts of a webhook that ended with their service and are not counted, of all that were postponed; from then on they are.
/// By then it is likely that this webhook takes the service down, and the schedule brings it to an end.
pub const LOST_ATTEMPTS_MAX: u32 = 50;

/// How long an endpoint may fail, with no success in between, until nothing more is sent to it.
pub const ENDPOINT_PATIENCE: Duration = Duration::from_secs(5 * 24 * 3600);

/// How long a file stays for a webhook that was to take it along and is dead, so that it can be sent again.
pub const DEAD_FILE_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Failures in a row after which a receiver is sent one delivery at a time, until one arrives.
pub const FAILURES_IN_A_ROW: u32 = 5;

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
pub fn next_render(fault: Fault, failures: u32, postponed: u32) -> Option<Duration> {
    let attempts_max = match fault {
        Fault::Request => 1,
        Fault::Moment => RENDER_ATTEMPTS_MAX,
        Fault::Browser => LOST_BROWSERS_MAX,
        Fault::Ours if postponed < POSTPONEMENTS_MAX => return Some(postponement(postponed)),
        Fault::Ours => RENDER_ATTEMPTS_MAX,
    };
    (failures + 1 < attempts_max).then(|| render_delay(failures + 1))
}

/// How long a request or a delivery waits that failed by a fault of this installation, for the n-th time.
pub fn postponement(postponed: u32) -> Duration {
    Duration::from_secs(2 << postponed.min(5)).min(Duration::from_secs(60))
}

/// How long a webhook waits whose attempt was lost with its service. `place` is its place among those lost together: they come
/// back a second apart, so that one that takes the service down does not take the same others along each time.
pub fn lost_attempt_delay(postponed: u32, place: usize) -> Duration {
    postponement(postponed) + Duration::from_secs(place as u64 % 60)
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
    fn a_render_is_tried_again_as_often_as_its_fault_allows() {
        let tries =
            |fault| (0..20).take_while(|failures| next_render(fault, *failures, POSTPONEMENTS_MAX).is_some()).count();
        let most = [Fault::Request, Fault::Moment, Fault::Browser, Fault::Ours].map(tries);
        assert_eq!(most, [0, 3, 7, 3]);
        assert_eq!(next_render(Fault::Ours, 20, POSTPONEMENTS_MAX - 1), Some(Duration::from_secs(60)));
        let pauses: Vec<u64> = (0..4)
            .filter_map(|failures| next_render(Fault::Browser, failures, 0))
            .map(|pause| pause.as_secs())
            .collect();
        assert_eq!(pauses, [1, 5, 30, 30]);
    }

    #[test]
    fn postponements_grow_to_a_minute() {
        let pauses: Vec<u64> = (0..8).map(|postponed| postponement(postponed).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(postponement(u32::MAX), Duration::from_secs(60));
        let together: Vec<u64> = [0, 1, 59, 60].map(|place| lost_attempt_delay(1, place).as_secs()).to_vec();
        assert_eq!(together, [4, 5, 63, 4]);
    }
}
