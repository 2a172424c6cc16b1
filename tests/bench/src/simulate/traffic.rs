//! Who asks for what, and when: many keys with shares of their own, a day's curve, and keys that at times ask for a lot.

use std::f64::consts::TAU;

use super::dice::{Dice, sums};
use super::world::{Arrival, SECOND};

const DAY: f64 = 86_400.0;

/// Keys of one kind.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) keys: usize,
    /// Of the steady requests, what all keys of this kind ask for together.
    pub(super) share: f64,
}

/// Keys that ask for nothing, and then for a lot. They come after the keys of all kinds.
#[derive(Clone, Debug)]
pub(super) struct Bursts {
    pub(super) keys: usize,
    /// Requests a second while it lasts.
    pub(super) rate: f64,
    /// Mean seconds that it lasts, and between the end of one and the next.
    pub(super) on: f64,
    pub(super) off: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Traffic {
    pub(super) seed: u64,
    pub(super) seconds: f64,
    /// Steady requests a second, the day's mean.
    pub(super) rate: f64,
    /// How far the day's curve is off its mean: 0 for a flat one, less than 1. It begins and ends with the night.
    pub(super) swing: f64,
    pub(super) kinds: Vec<Kind>,
    pub(super) bursts: Option<Bursts>,
    /// Parts of the classes.
    pub(super) classes: Vec<f64>,
}

impl Traffic {
    /// One key that asks steadily for one class.
    #[cfg(test)]
    pub(super) fn steady(seed: u64, rate: f64, seconds: f64) -> Traffic {
        let kinds = vec![Kind { keys: 1, share: 1.0 }];
        Traffic { seed, seconds, rate, swing: 0.0, kinds, bursts: None, classes: vec![1.0] }
    }

    pub(super) fn keys(&self) -> usize {
        self.kinds.iter().map(|kind| kind.keys).sum::<usize>() + self.bursts.as_ref().map_or(0, |bursts| bursts.keys)
    }

    /// A group for each kind, one for those that burst, and each kind once more for what comes while somebody bursts.
    pub(super) fn groups(&self) -> usize {
        self.kinds.len() * 2 + 1
    }

    /// Requests a second at a time of the day, without bursts.
    pub(super) fn rate_at(&self, second: f64) -> f64 {
        self.rate * (1.0 - self.swing * (TAU * second / DAY).cos())
    }

    /// All of them, in order of time.
    pub(super) fn arrivals(&self) -> Arrivals<'_> {
        let mut first = 0;
        let kinds = self.kinds.iter().map(|kind| {
            first += kind.keys;
            first - kind.keys
        });
        let firsts: Vec<usize> = kinds.collect();
        let mut dice = Dice::new(self.seed);
        let bursts = self.bursts.iter().flat_map(|bursts| std::iter::repeat_n(bursts, bursts.keys));
        let bursts = bursts.map(|bursts| Burst { until: 0.0, next: dice.exponential(bursts.off) }).collect();
        Arrivals {
            traffic: self,
            by_kind: sums(self.kinds.iter().map(|kind| kind.share)),
            by_class: sums(self.classes.iter().copied()),
            firsts,
            bursts,
            dice,
            steady: 0.0,
        }
    }
}

/// One key that bursts.
struct Burst {
    /// When it is over.
    until: f64,
    /// When it asks next.
    next: f64,
}

pub(super) struct Arrivals<'a> {
    traffic: &'a Traffic,
    by_kind: Vec<f64>,
    by_class: Vec<f64>,
    /// The first key of each kind.
    firsts: Vec<usize>,
    bursts: Vec<Burst>,
    dice: Dice,
    /// When something steady was last asked for.
    steady: f64,
}

impl Arrivals<'_> {
    /// The next steady request: one at the day's highest rate, kept as often as the rate of the hour is of that.
    fn next_steady(&mut self) -> f64 {
        let most = self.traffic.rate * (1.0 + self.traffic.swing);
        let mut at = self.steady;
        loop {
            at += self.dice.exponential(1.0 / most);
            if at > self.traffic.seconds || self.dice.part() * most <= self.traffic.rate_at(at) {
                return at;
            }
        }
    }

    /// Asks by a key that bursts, and plans its next request, which may be the first of another burst.
    fn burst(&mut self, at: usize) -> Option<Arrival> {
        let bursts = self.traffic.bursts.as_ref()?;
        let burst = &mut self.bursts[at];
        let now = burst.next;
        if now >= burst.until {
            burst.until = now + self.dice.exponential(bursts.on);
        }
        let next = now + self.dice.exponential(1.0 / bursts.rate);
        burst.next = if next < burst.until { next } else { burst.until + self.dice.exponential(bursts.off) };
        let key = self.traffic.keys() - bursts.keys + at;
        Some(Arrival { at: time(now), key, class: self.dice.choose(&self.by_class), group: self.traffic.kinds.len() })
    }
}

fn time(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

impl Iterator for Arrivals<'_> {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if self.steady == 0.0 {
            self.steady = self.next_steady();
        }
        let first = self.bursts.iter().enumerate().min_by(|(_, one), (_, other)| one.next.total_cmp(&other.next));
        if let Some((at, burst)) = first
            && burst.next < self.steady
        {
            return if burst.next <= self.traffic.seconds { self.burst(at) } else { None };
        }
        let now = self.steady;
        if now > self.traffic.seconds {
            return None;
        }
        self.steady = self.next_steady();
        let kind = self.dice.choose(&self.by_kind);
        let key = self.firsts[kind] + self.dice.below(self.traffic.kinds[kind].keys);
        let is_beside = self.bursts.iter().any(|burst| now < burst.until);
        let group = if is_beside { self.traffic.kinds.len() + 1 + kind } else { kind };
        Some(Arrival { at: time(now), key, class: self.dice.choose(&self.by_class), group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_day() -> Traffic {
        Traffic {
            seed: 3,
            seconds: DAY,
            rate: 4.0,
            swing: 0.8,
            kinds: vec![Kind { keys: 2, share: 0.75 }, Kind { keys: 50, share: 0.25 }],
            bursts: Some(Bursts { keys: 3, rate: 20.0, on: 60.0, off: 3600.0 }),
            classes: vec![0.9, 0.1],
        }
    }

    #[test]
    fn a_day_has_its_curve_its_shares_and_its_bursts() {
        let traffic = a_day();
        let all: Vec<Arrival> = traffic.arrivals().collect();
        assert!(all.is_sorted_by_key(|arrival| arrival.at));
        let count = |of: &dyn Fn(&Arrival) -> bool| all.iter().filter(|arrival| of(arrival)).count() as f64;
        let steady = count(&|arrival| arrival.group != 2);
        assert!((steady / (4.0 * DAY) - 1.0).abs() < 0.01, "{steady}");
        let heavy = count(&|arrival| arrival.key < 2);
        assert!((heavy / steady - 0.75).abs() < 0.01, "{heavy}");
        let noon = (DAY / 2.0 - 3600.0, DAY / 2.0 + 3600.0);
        let within = |arrival: &Arrival, (from, to): (f64, f64)| {
            let at = arrival.at as f64 / SECOND as f64;
            arrival.group != 2 && at >= from && at < to
        };
        let by_day = count(&|arrival| within(arrival, noon));
        let by_night = count(&|arrival| within(arrival, (0.0, 3600.0)) || within(arrival, (DAY - 3600.0, DAY)));
        // The mean of the curve within an hour of its highest and of its lowest point.
        assert!((by_day / by_night - 1.791 / 0.209).abs() < 0.4, "{by_day} to {by_night}");
        // Three keys that burst for a sixty-first of the time.
        let bursting = count(&|arrival| arrival.group == 2);
        assert!((bursting / (3.0 * 20.0 * DAY * 60.0 / 3660.0) - 1.0).abs() < 0.25, "{bursting}");
        assert!(all.iter().all(|arrival| (arrival.group == 2) == (arrival.key >= 52)));
        assert!(count(&|arrival| arrival.group > 2) > 1_000.0);
        assert!((count(&|arrival| arrival.class == 1) / all.len() as f64 - 0.1).abs() < 0.01);
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        let some = |seed| Traffic { seed, ..a_day() }.arrivals().take(1000).collect::<Vec<Arrival>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }
}
