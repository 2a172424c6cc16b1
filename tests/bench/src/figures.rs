//! From samples to the figures of a table.

use std::time::Duration;

/// Begins a table of `line`s.
pub(super) fn head() {
    println!("| what | measured | aim |\n|---|---|---|");
}

/// One line of it.
pub(super) fn line(what: &str, figure: &str, aim: &str) {
    println!("| {what} | {figure} | {aim} |");
}

/// The value below which such a part of the values is; NaN of none.
pub(super) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// The same of times, in milliseconds.
pub(super) fn quantile_ms(times: &[Duration], part: f64) -> f64 {
    quantile(times.iter().copied().map(ms).collect(), part)
}

/// Their middle, and the value below which a greater part of them is.
pub(super) fn spread(times: &[Duration], high: f64) -> String {
    format!("p50 {:.2} ms, p{:.0} {:.2} ms", quantile_ms(times, 0.5), high * 100.0, quantile_ms(times, high))
}

pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values.to_vec(), 0.5)
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
