//! Cron in time zones: what an expression may be, and when its time comes next.
//!
//! croner has the rules of Vixie's cron for clocks that are changed: a fixed time that the clock leaves out in spring
//! comes right after the gap, one that comes twice in autumn counts once, and what repeats goes by the clock as it runs.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use snaphook_shared::task::{self, WallTime};

/// The calendar as it is at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    /// Unix milliseconds.
    pub now_ms: u64,
}

impl Calendar {
    /// When the expression's time comes next after this moment, in Unix milliseconds. None: never.
    pub fn next(&self, crontab: &str, time_zone: &str) -> Option<u64> {
        let next = parse(crontab).ok()?.find_next_occurrence(&self.zoned(time_zone)?, false).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }

    fn zoned(&self, time_zone: &str) -> Option<Zoned> {
        let now = Timestamp::from_millisecond(i64::try_from(self.now_ms).ok()?).ok()?;
        Some(now.to_zoned(zone(time_zone)?))
    }
}

impl task::Calendar for Calendar {
    fn time_zone(&self, name: &str) -> Option<String> {
        zone(name)?.iana_name().map(str::to_owned)
    }

    fn wall_time(&self, time_zone: &str) -> Option<WallTime> {
        let now = self.zoned(time_zone)?;
        let part = |number: i8| number.unsigned_abs();
        Some(WallTime { minute: part(now.minute()), hour: part(now.hour()), day: part(now.day()) })
    }

    fn check_crontab(&self, crontab: &str) -> Result<(), String> {
        if crontab.contains('@') {
            return Err("must have five fields, not a nickname".to_owned());
        }
        parse(crontab).map_err(|error| format!("is not valid: {error}"))?;
        match self.next(crontab, "Etc/UTC") {
            Some(_) => Ok(()),
            None => Err("names a time that never comes".to_owned()),
        }
    }
}

fn parse(crontab: &str) -> Result<Cron, croner::errors::CronError> {
    // `5/15`, which the vendor takes: from the fifth minute every fifteen.
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).sloppy_ranges(true).build();
    parser.parse(crontab)
}

/// By its name in the IANA database, of the system or, where that has none, our own.
fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())
}

#[cfg(test)]
mod tests {
    use snaphook_shared::task::Calendar as _;

    use super::*;

    fn at(time: &str) -> Calendar {
        Calendar { now_ms: time.parse::<Timestamp>().unwrap().as_millisecond().unsigned_abs() }
    }

    /// The next times, one after the other.
    fn times(crontab: &str, time_zone: &str, from: &str, count: usize) -> Vec<String> {
        let mut calendar = at(from);
        let mut times = Vec::new();
        for _ in 0..count {
            calendar.now_ms = calendar.next(crontab, time_zone).unwrap();
            times.push(Timestamp::from_millisecond(calendar.now_ms.cast_signed()).unwrap().to_string());
        }
        times
    }

    #[test]
    fn a_day_in_a_time_zone_is_its_own() {
        assert_eq!(
            times("30 9 * * 1-5", "America/New_York", "2026-11-20T15:00:00Z", 2),
            ["2026-11-23T14:30:00Z", "2026-11-24T14:30:00Z"]
        );
        assert_eq!(times("0 0 * * *", "Asia/Kathmandu", "2026-11-20T00:00:00Z", 1), ["2026-11-20T18:15:00Z"]);
        // The next one is after now, not now.
        assert_eq!(times("*/5 * * * *", "Etc/UTC", "2026-11-20T00:05:00Z", 1), ["2026-11-20T00:10:00Z"]);
        assert_eq!(times("5/15 * * * *", "Etc/UTC", "2026-11-20T00:00:00Z", 2)[1], "2026-11-20T00:20:00Z");
    }

    /// In Berlin, on 2026-03-29, 03:00 comes right after 01:59 (01:00 UTC).
    #[test]
    fn a_time_that_the_clock_leaves_out_in_spring_comes_right_after_it() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        // What runs every hour goes on with the clock, and does not run twice at once.
        assert_eq!(
            times("30 * * * *", "Europe/Berlin", "2026-03-28T23:45:00Z", 3),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"]
        );
        // Where midnight itself is left out.
        assert_eq!(times("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 1), ["2026-04-23T22:00:00Z"]);
    }

    /// In Berlin, on 2026-10-25, the hour from 02:00 comes twice (00:00 to 02:00 UTC).
    #[test]
    fn a_time_that_comes_twice_in_autumn_counts_once() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // Asked between the two: it has been.
        assert_eq!(times("30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00Z", 1), ["2026-10-26T01:30:00Z"]);
        assert_eq!(
            times("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 3),
            ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]
        );
    }

    #[test]
    fn what_is_no_expression_and_what_never_comes_is_refused() {
        let calendar = at("2026-11-20T00:00:00Z");
        for good in ["* * * * *", "0 9 1,15 * *", "0 0 * * MON-FRI", "0 0 29 2 *", "0 0 * * 7", "0 0 L * *"] {
            assert_eq!(calendar.check_crontab(good), Ok(()), "{good}");
        }
        for bad in
            ["60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "a b c d e", "*/0 * * * *", "@daily", "é * * * *"]
        {
            assert!(calendar.check_crontab(bad).is_err(), "{bad}");
        }
        assert_eq!(calendar.check_crontab("0 0 31 2 *"), Err("names a time that never comes".to_owned()));
        assert_eq!(calendar.next("0 0 31 2 *", "Etc/UTC"), None);
    }

    #[test]
    fn zones_are_found_by_name_and_tell_the_time() {
        let calendar = at("2026-11-20T23:59:00Z");
        assert_eq!(calendar.time_zone("europe/berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(calendar.time_zone("Etc/UTC").as_deref(), Some("Etc/UTC"));
        for bad in ["", "Mars/Base", "Etc/Unknown", "../../etc/passwd", "CEST+2"] {
            assert_eq!(calendar.time_zone(bad), None, "{bad}");
        }
        assert_eq!(calendar.wall_time("Asia/Tokyo"), Some(WallTime { minute: 59, hour: 8, day: 21 }));
    }
}
