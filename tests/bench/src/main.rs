//! What the queue and the webhooks take, measured on the machine it runs on: `make bench-queue`.
//!
//! Figures of one run belong together: what is compared is measured in turns, and the ratio is what counts. The parts are
//! the real ones, as the service puts them together; only the renders are left out.

#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod accepts;
mod answers;
mod deliveries;
mod lists;
mod rig;

use std::path::PathBuf;

/// One line of the table.
pub(crate) fn report(what: &str, figure: &str, aim: &str) {
    println!("| {what} | {figure} | {aim} |");
}

fn main() {
    // The disk that is measured is the one with this folder.
    let disk = std::env::var_os("SNAPHOOK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(disk).expect("a folder on the disk to measure");
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    println!("| what | measured | aim |\n|---|---|---|");
    snaphook_tests::run(async {
        if wanted("deliveries") {
            deliveries::measure(folder.path()).await;
        }
        if wanted("accepts") {
            accepts::measure(folder.path()).await;
        }
        if wanted("lists") {
            lists::measure(folder.path()).await;
        }
    });
    if wanted("answers") {
        snaphook_tests::run(answers::measure());
    }
}
