//! What a fleet does under load, simulated: `snaphook-bench simulate`. Nothing in it has a clock or luck of this world: the same
//! command says the same each time.

mod dice;
mod histogram;
mod line;
mod plan;
mod real;
#[cfg(test)]
mod theory;
mod traffic;
mod world;

use snaphook_tests::repository;

use crate::plot::{self, Curve, Tone};
use plan::{CLASSES, Plan};
use traffic::{Bursts, Kind, Traffic};
use world::{Arrival, Outcome, Service, World};

const SEED: u64 = 20_261_126;
const DAY: f64 = 86_400.0;
/// What a slot is taken for beside the render: claim, store, end.
const OVERHEAD_S: f64 = 0.01;

/// Keys of a kind, as the tables name them.
const KINDS: [&str; 3] = ["5 heavy keys", "50 middling keys", "1,000 quiet keys"];
const SHARES: [(usize, f64); 3] = [(5, 0.5), (50, 0.4), (1000, 0.1)];

/// One thing to simulate.
struct Scenario {
    per_day: f64,
    /// Load of the slots in the busiest hour.
    load: f64,
    /// Seconds that the hosts of a page take; slots are open for as long, and not only for the processor time.
    page_wait: f64,
    /// Machines crash, browsers are lost, pages fail.
    trouble: bool,
    bursts: bool,
    /// As if all requests were of one key: first come, first served.
    in_order: bool,
}

impl Scenario {
    fn traffic(&self, plan: &Plan) -> Traffic {
        let mean = self.per_day / DAY;
        // Ten keys that each ask for twice what all others do, for three minutes every six hours.
        let bursts = Bursts { keys: 10, rate: mean * 2.0, on: 180.0, off: 21_420.0 };
        let of_bursts = bursts.rate * bursts.keys as f64 * bursts.on / (bursts.on + bursts.off);
        Traffic {
            seed: SEED,
            seconds: DAY,
            rate: if self.bursts { mean - of_bursts } else { mean },
            swing: plan.get("peak") - 1.0,
            kinds: SHARES.iter().map(|(keys, share)| Kind { keys: *keys, share: *share }).collect(),
            bursts: self.bursts.then_some(bursts),
            classes: plan.shares(),
        }
    }

    fn world(&self, plan: &Plan, traffic: &Traffic) -> World {
        let services: Vec<Service> = CLASSES.iter().map(|class| self.service(class)).collect();
        let held: f64 = plan.shares().iter().zip(&CLASSES).map(|(share, class)| share * self.held(class)).sum();
        let slots = self.per_day / DAY * plan.get("peak") * held / self.load;
        let slots_each = plan.get("cores_each") as usize;
        World {
            machines: (slots / slots_each as f64).ceil() as usize,
            slots_each,
            keys: traffic.keys(),
            groups: traffic.groups(),
            capacity: 1_000_000,
            crash_every: if self.trouble { DAY } else { f64::INFINITY },
            failing: if self.trouble { 0.02 } else { 0.0 },
            losing_browser: if self.trouble { 0.0001 } else { 0.0 },
            ..World::quiet(SEED, 0, services)
        }
    }

    /// Mean seconds that a page of a class takes a slot.
    fn held(&self, class: &plan::Class) -> f64 {
        class.cpu_ms / 1000.0 + OVERHEAD_S + self.page_wait
    }

    /// With a page's hosts, times spread far more than without.
    fn service(&self, class: &plan::Class) -> Service {
        let spread = if self.page_wait > 0.0 { 0.8 } else { class.spread };
        Service::LogNormal { median: self.held(class) / (spread * spread / 2.0_f64).exp(), spread }
    }

    fn name(&self) -> String {
        let size = if self.per_day > 2e7 { "1 B a month" } else { "10 M a day" };
        let mut name = format!("{size}, load {}", self.load);
        for (is_so, what) in [
            (self.page_wait > 0.0, ", hosts take a second"),
            (self.bursts, ", bursts"),
            (self.trouble, ", crashes and failures"),
            (self.in_order, ", **in order of arrival**"),
        ] {
            name.push_str(if is_so { what } else { "" });
        }
        name
    }
}

fn scenarios() -> Vec<Scenario> {
    let plain =
        |per_day, load| Scenario { per_day, load, page_wait: 0.0, trouble: false, bursts: false, in_order: false };
    let month = 1e9 / 30.0;
    vec![
        plain(10e6, 0.7),
        plain(10e6, 0.97),
        Scenario { bursts: true, ..plain(10e6, 0.7) },
        Scenario { bursts: true, in_order: true, ..plain(10e6, 0.7) },
        Scenario { bursts: true, ..plain(10e6, 0.9) },
        Scenario { bursts: true, trouble: true, ..plain(10e6, 0.7) },
        Scenario { bursts: true, trouble: true, page_wait: 1.0, ..plain(10e6, 0.7) },
        Scenario { bursts: true, trouble: true, ..plain(month, 0.7) },
        Scenario { bursts: true, trouble: true, ..plain(month, 0.9) },
    ]
}

pub(crate) fn run(arguments: &[&str]) {
    match arguments {
        ["plan", replaced @ ..] => plan::print(replaced),
        ["real"] => real::compare(),
        [] => simulate(),
        _ => eprintln!("simulate [plan [--INPUT=VALUE]…| real]"),
    }
}

fn simulate() {
    let plan = Plan::with(&[]);
    println!(
        "| scenario | slots | taken, all day | age p50 s | p95 s | p99 s | p99.99 s | most that waited | shots | renders repeated | of them by crashes | failed |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut fairness = Vec::new();
    let mut courses = Vec::new();
    for scenario in scenarios() {
        let traffic = scenario.traffic(&plan);
        let world = scenario.world(&plan, &traffic);
        let key = |arrival: Arrival| if scenario.in_order { Arrival { key: 0, ..arrival } } else { arrival };
        let outcome = world::run(&world, traffic.arrivals().map(key));
        let [p50, p95, p99, most] = [0.5, 0.95, 0.99, 0.9999].map(|part| outcome.age.quantile(part));
        let ended = outcome.done + outcome.failed;
        assert_eq!(outcome.refused, 0, "there is room for all of them");
        println!(
            "| {} | {} | {:.2} | {p50:.3} | {p95:.3} | {p99:.3} | {most:.1} | {} | {ended} | {} | {} | {} |",
            scenario.name(),
            world.machines * world.slots_each,
            outcome.utilisation,
            outcome.course.iter().map(|(_, waiting)| *waiting).max().unwrap_or(0),
            outcome.renders - ended,
            outcome.crashed,
            outcome.failed,
        );
        if scenario.bursts {
            fairness.push(fair(&scenario, &outcome));
        }
        if scenario.bursts && !scenario.trouble && scenario.load < 0.8 {
            courses.push(outcome);
        }
    }
    println!("\n| scenario | keys | share of the shots | queue age p50 s | p95 s | p99 s |\n|---|---|--:|--:|--:|--:|");
    fairness.iter().for_each(|rows| print!("{rows}"));
    if let [in_turns, in_order] = courses.as_slice() {
        draw(in_turns, in_order);
    }
}

/// How long each kind of keys waits, by what it asks for, and while somebody bursts.
fn fair(scenario: &Scenario, outcome: &Outcome) -> String {
    use std::fmt::Write;

    let all: u64 = outcome.accepted.iter().sum();
    let bursting = KINDS.len();
    let alone = KINDS.iter().enumerate().map(|(at, name)| (at, format!("{name}, nobody bursts")));
    let beside =
        KINDS.iter().enumerate().map(|(at, name)| (bursting + 1 + at, format!("{name}, while somebody bursts")));
    let mut rows = String::new();
    for (at, name) in alone.chain(beside).chain([(bursting, "10 keys that burst".to_owned())]) {
        let ages = &outcome.ages[at];
        if ages.count() == 0 {
            continue;
        }
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| ages.quantile(part));
        let share = outcome.accepted[at] as f64 / all as f64;
        let _ = writeln!(rows, "| {} | {name} | {share:.3} | {p50:.3} | {p95:.3} | {p99:.3} |", scenario.name());
    }
    rows
}

/// The longest waits of each minute, in turns of the keys and in order of arrival: over the day, and around the worst burst.
fn draw(in_turns: &Outcome, in_order: &Outcome) {
    let folder = repository("target/bench");
    std::fs::create_dir_all(&folder).expect("a folder for plots");
    let bursting = KINDS.len();
    let longest = |outcome: &Outcome, groups: &[usize], from: usize, until: usize| -> Vec<(f64, f64)> {
        let most = |worst: &[f64]| groups.iter().map(|group| worst[*group]).fold(0.0, f64::max);
        let steps = outcome.course.iter().enumerate().take(until).skip(from);
        steps.map(|(minute, (worst, _))| ((minute - from) as f64 / 60.0, most(worst) / 60.0)).collect()
    };
    let others: Vec<usize> = (0..in_turns.ages.len()).filter(|group| *group != bursting).collect();
    let draw = |name: &str, across: &str, from, until| {
        let curves = [
            Curve { name: "who bursts", tone: Tone::Other, points: longest(in_turns, &[bursting], from, until) },
            Curve { name: "others, in order", tone: Tone::Ceiling, points: longest(in_order, &others, from, until) },
            Curve { name: "others, in turns", tone: Tone::Ours, points: longest(in_turns, &others, from, until) },
        ];
        let title = "Longest wait in the queue, minutes, by the minute: 10 M shots a day, load 0.7 in the busiest hour";
        std::fs::write(folder.join(name), plot::curves(title, across, &curves)).expect("room for a plot");
    };
    draw("queue-age-day.svg", "hour of the day", 0, in_turns.course.len());
    let waits = in_turns.course.iter().map(|(worst, _)| worst[bursting]);
    let worst = waits.enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(minute, _)| minute);
    draw("queue-age-burst.svg", "hours around the worst burst", worst.saturating_sub(45), worst + 45);
}
