//! Times of any number of requests in a fixed space: classes that are each a thirty-second wide.

/// Times in microseconds.
#[derive(Clone, Default)]
pub(super) struct Histogram {
    classes: Vec<u64>,
    count: u64,
    sum: f64,
    most: u64,
}

const PARTS: u64 = 32;

/// Up to 32 each number is a class; above, each power of two has 32.
fn class(time: u64) -> usize {
    let power = u64::from((time.max(1)).ilog2().saturating_sub(5));
    (power * PARTS + (time >> power)) as usize
}

/// The least time that is beyond a class.
fn end_of(class: usize) -> u64 {
    let class = class as u64;
    let power = (class / PARTS).saturating_sub(1);
    (class - power * PARTS + 1) << power
}

impl Histogram {
    pub(super) fn add(&mut self, time: u64) {
        let class = class(time);
        if class >= self.classes.len() {
            self.classes.resize(class + 1, 0);
        }
        self.classes[class] += 1;
        self.count += 1;
        self.sum += time as f64;
        self.most = self.most.max(time);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// In seconds; NaN of none.
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.count as f64 / 1e6
    }

    /// The time in seconds that such a part of all do not exceed, at most a thirty-second too much; NaN of none.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let wanted = (self.count as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (class, count) in self.classes.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return end_of(class).saturating_sub(1).min(self.most) as f64 / 1e6;
            }
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_a_class_that_ends_just_beyond_it() {
        let mut before = 0;
        for time in (0..5_000).chain((5_000..60_000_000).step_by(7_919)) {
            let (class, end) = (class(time), end_of(class(time)));
            assert!(class >= before, "{time}");
            assert!(end > time && end - time <= 1 + time / PARTS, "{time} in {class} to {end}");
            before = class;
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.add(value * 1000));
        for (part, seconds) in [(0.5, 0.5), (0.95, 0.95), (1.0, 1.0)] {
            let found = histogram.quantile(part);
            assert!((seconds..=seconds * 1.04).contains(&found), "{part}: {found}");
        }
        assert!((histogram.mean() - 0.5005).abs() < 1e-9);
        assert!(Histogram::default().quantile(0.5).is_nan());
    }
}
