//! What snaphook takes, measured on the machine it runs on: `make bench` for pictures, `make bench-queue` and
//! `make bench-service` for the rest.
//!
//! Figures of one run belong together: what is compared is measured in turns, and the ratio is what counts.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]
#![expect(clippy::expect_used, reason = "a measurement that cannot be made should stop loudly")]

mod figures;
mod meter;
mod pages;
mod plot;
mod queue;
mod render;
mod service;
mod simulate;

const USAGE: &str = "\
render [--quick] [--only=NAME]   pictures, beside other ways to take them
queue [PART]…                    accepts, deliveries, lists, postgres, jobs, rows [--rows=N]…
service [PART]…                  answers, files, load, memory, drift, pinned
simulate                         a day of a fleet, in no time: how old requests get in the queue, who waits for whom
simulate plan [--INPUT=VALUE]…   machines, database, bucket and cost, from what was measured
simulate real                    the simulator beside a real backend with the same arrivals";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["render", options @ ..] => render::measure(options),
        ["contender", "handler"] => render::handler::serve(),
        ["contender", kind] => render::raw::serve(kind),
        ["queue", parts @ ..] => queue::measure(parts),
        ["service", parts @ ..] => service::measure(parts),
        ["simulate", rest @ ..] => simulate::run(rest),
        _ => eprintln!("{USAGE}"),
    }
}
