//! The simulator against what queueing theory has closed forms for, and against the product's own schedule.

use super::traffic::{Bursts, Kind, Traffic};
use super::world::{Outcome, SECOND, Service, World, run};

/// The probability that a request has to wait, of `slots` that are offered so much work (Erlang C).
fn erlang_c(slots: usize, offered: f64) -> f64 {
    // By Erlang B, which is stable where factorials are not.
    let blocked = (1..=slots).fold(1.0, |blocked, slot| offered * blocked / (slot as f64 + offered * blocked));
    let load = offered / slots as f64;
    blocked / (1.0 - load + load * blocked)
}

/// So many requests with exponential pauses between them, at a load of the slots.
fn simulated(slots: usize, load: f64, requests: f64, service: Service, mean: f64) -> Outcome {
    let rate = load * slots as f64 / mean;
    let seconds = requests / rate;
    let world = World { counted_from: seconds * 0.05, ..World::quiet(5, slots, vec![service]) };
    run(&world, Traffic::steady(9, rate, seconds).arrivals())
}

#[test]
fn mean_waits_are_those_of_m_m_c() {
    for (slots, load, within) in [(1, 0.5, 0.03), (1, 0.8, 0.08), (2, 0.7, 0.05), (8, 0.8, 0.08), (64, 0.9, 0.15)] {
        let mean = 0.25;
        let outcome = simulated(slots, load, 400_000.0, Service::Exponential { mean }, mean);
        let waits = erlang_c(slots, load * slots as f64);
        let expected = waits * mean / (slots as f64 * (1.0 - load));
        let found = outcome.age.mean();
        assert!((found / expected - 1.0).abs() < within, "{slots} slots at {load}: {found} instead of {expected}");
        assert!((outcome.utilisation / load - 1.0).abs() < 0.01, "{}", outcome.utilisation);
        // The wait of those who wait is exponential, so its quantiles have a form too.
        let high = mean / (slots as f64 * (1.0 - load)) * (waits / 0.01).ln();
        let p99 = outcome.age.quantile(0.99);
        assert!((p99 / high - 1.0).abs() < within + 0.05, "{slots} slots at {load}: p99 {p99} instead of {high}");
    }
}

#[test]
fn mean_waits_of_one_slot_are_those_of_pollaczek_and_khinchine() {
    let (load, spread) = (0.7, 0.6_f64);
    let median = 0.2;
    let mean = median * (spread * spread / 2.0).exp();
    let varied = (spread * spread).exp() - 1.0;
    for (service, mean, variation) in
        [(Service::Fixed(0.3), 0.3, 0.0), (Service::LogNormal { median, spread }, mean, varied)]
    {
        let found = simulated(1, load, 400_000.0, service.clone(), mean).age.mean();
        let expected = load * mean * (1.0 + variation) / (2.0 * (1.0 - load));
        assert!((found / expected - 1.0).abs() < 0.05, "{service:?}: {found} instead of {expected}");
    }
}

/// Turns of keys change who waits, and not how long all of them wait together.
#[test]
fn rotation_over_keys_keeps_the_mean_wait_and_protects_the_quiet_ones() {
    let traffic = Traffic {
        seed: 4,
        seconds: 40_000.0,
        rate: 8.0,
        swing: 0.0,
        kinds: vec![Kind { keys: 1, share: 0.9 }, Kind { keys: 9, share: 0.1 }],
        bursts: None,
        classes: vec![1.0],
    };
    let mean = 0.9;
    let world = World {
        keys: traffic.keys(),
        groups: traffic.groups(),
        ..World::quiet(5, 8, vec![Service::Exponential { mean }])
    };
    let outcome = run(&world, traffic.arrivals());
    let expected = erlang_c(8, 8.0 * mean) * mean / (8.0 - 8.0 * mean);
    let [heavy, quiet] = [outcome.ages[0].mean(), outcome.ages[1].mean()];
    assert!((outcome.age.mean() / expected - 1.0).abs() < 0.1, "{} instead of {expected}", outcome.age.mean());
    assert!(quiet < heavy / 3.0, "the quiet ones wait {quiet}, the heavy one {heavy}");
}

#[test]
fn one_key_cannot_make_the_others_wait_for_its_burst() {
    let traffic = Traffic {
        seed: 6,
        seconds: 20_000.0,
        rate: 5.0,
        swing: 0.0,
        kinds: vec![Kind { keys: 5, share: 1.0 }],
        bursts: Some(Bursts { keys: 1, rate: 40.0, on: 30.0, off: 900.0 }),
        classes: vec![1.0],
    };
    let world =
        World { keys: traffic.keys(), groups: traffic.groups(), ..World::quiet(5, 10, vec![Service::Fixed(1.0)]) };
    let outcome = run(&world, traffic.arrivals());
    let [bursting, beside] = [outcome.ages[1].quantile(0.95), outcome.ages[2].quantile(0.95)];
    assert!(bursting > 20.0 && beside < 2.0, "the one that bursts waits {bursting} s, those beside it {beside} s");
}

#[test]
fn failures_are_tried_again_by_the_products_schedule() {
    let world = World { failing: 1.0, ..World::quiet(5, 4, vec![Service::Fixed(1.0)]) };
    let outcome = run(&world, Traffic::steady(1, 0.05, 2_000.0).arrivals());
    let accepted = outcome.accepted[0];
    // Four attempts with pauses of 1, 5 and 30 seconds between them.
    assert_eq!((outcome.failed, outcome.done, outcome.renders), (accepted, 0, 4 * accepted));
    assert!((outcome.whole.quantile(0.5) / 40.0 - 1.0).abs() < 0.05, "{}", outcome.whole.quantile(0.5));
}

#[test]
fn what_a_crashed_machine_held_comes_back_when_its_lease_runs_out() {
    let world = World { crash_every: 500.0, ..World::quiet(5, 4, vec![Service::Fixed(20.0)]) };
    let outcome = run(&world, Traffic::steady(1, 0.05, 100_000.0).arrivals());
    let accepted = outcome.accepted[0];
    assert_eq!((outcome.done, outcome.failed), (accepted, 0), "none is lost, and none is charged with a crash");
    assert_eq!(outcome.renders, accepted + outcome.crashed);
    assert!(outcome.crashed > 50, "{}", outcome.crashed);
    // The lease, the look for it, and the render once more.
    let longest = outcome.whole.quantile(0.999);
    assert!(longest > 50.0, "{longest}");
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let once = || {
        let world =
            World { failing: 0.05, crash_every: 300.0, ..World::quiet(8, 6, vec![Service::Exponential { mean: 1.0 }]) };
        let outcome = run(&world, Traffic::steady(2, 4.0, 3_000.0).arrivals());
        (outcome.renders, outcome.crashed, outcome.age.mean().to_bits(), outcome.course.len())
    };
    assert_eq!(once(), once());
    assert!(once().3 >= (3_000 * SECOND / (60 * SECOND)) as usize);
}
