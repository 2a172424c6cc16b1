//! Numbers that look random and are the same for the same seed, on every machine.

use std::f64::consts::TAU;

/// SplitMix64.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// At least 0, less than 1.
    pub(super) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        ((self.part() * end as f64) as usize).min(end.saturating_sub(1))
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.part() < probability
    }

    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.part()).ln() * mean
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.part()).ln()).sqrt() * (TAU * self.part()).cos()
    }

    /// `spread` is the deviation of the logarithm.
    pub(super) fn log_normal(&mut self, median: f64, spread: f64) -> f64 {
        median * (spread * self.normal()).exp()
    }

    /// An index, by weights that are summed up from the first on.
    pub(super) fn choose(&mut self, sums: &[f64]) -> usize {
        let at = self.part() * sums.last().copied().unwrap_or(0.0);
        sums.partition_point(|sum| *sum <= at).min(sums.len().saturating_sub(1))
    }
}

/// Weights, summed up.
pub(super) fn sums(weights: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sum = 0.0;
    weights
        .into_iter()
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            (0..5).map(|_| dice.next()).collect::<Vec<u64>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn means_and_quantiles_are_those_of_the_distributions() {
        let mut dice = Dice::new(7);
        let exponential: f64 = (0..200_000).map(|_| dice.exponential(3.0)).sum::<f64>() / 200_000.0;
        assert!((exponential / 3.0 - 1.0).abs() < 0.01, "{exponential}");
        let mut values: Vec<f64> = (0..200_000).map(|_| dice.log_normal(2.0, 0.5)).collect();
        values.sort_by(f64::total_cmp);
        assert!((values[100_000] / 2.0 - 1.0).abs() < 0.01, "{}", values[100_000]);
        // The 95th percentile of a normal distribution is 1.645 deviations off.
        let high = 2.0 * (0.5_f64 * 1.645).exp();
        assert!((values[190_000] / high - 1.0).abs() < 0.02, "{}", values[190_000]);
        let weights = sums([1.0, 3.0]);
        let second = (0..100_000).filter(|_| dice.choose(&weights) == 1).count();
        assert!((74_000..76_000).contains(&second), "{second}");
    }
}
