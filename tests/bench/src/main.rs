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

const USAGE: &str = "\
render [--quick] [--only=NAME]   pictures, beside other ways to take them
queue [PART]…                    accepts, deliveries, lists, postgres
service [PART]…                  answers, files, load, memory, drift";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["render", options @ ..] => render::measure(options),
        ["contender", kind] => render::raw::serve(kind),
        ["queue", parts @ ..] => queue::measure(parts),
        ["service", parts @ ..] => service::measure(parts),
        _ => eprintln!("{USAGE}"),
    }
}
