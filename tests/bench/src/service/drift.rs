//! Many pictures on end: whether the last ones cost what the first ones did. `SNAPHOOK_BENCH_PICTURES` says how many.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use snaphook_tests::stack::Stack;

use crate::figures::{line, median, ms};
use crate::meter::{self, Meter};
use crate::pages;

const CALLERS: usize = 4;
/// The run is looked at in so many parts.
const PARTS: usize = 20;
/// Pictures before the first look: what a process takes once is no drift.
const WARM_UP: usize = 100;

pub(super) async fn measure() {
    let pictures = std::env::var("SNAPHOOK_BENCH_PICTURES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let group = Meter::group("drift");
    let entrance = group.as_ref().map(Meter::entrance).unwrap_or_default();
    let mut builder = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", CALLERS);
    if !entrance.is_empty() {
        builder = builder.under(&entrance.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let stack = builder.start();
    let meter = group.unwrap_or(Meter::Tree { root: stack.backend_pid() });
    let (site, client) = (pages::start(), stack.client());
    let options = json!({ "url": format!("{}{}", site.url(), pages::TRIVIAL.path) });
    let take = async |count: usize| {
        let taken = AtomicUsize::new(0);
        let caller = async || {
            while taken.fetch_add(1, Ordering::Relaxed) < count {
                client.take(&options).await.expect(200);
            }
        };
        futures::future::join_all((0..CALLERS).map(|_| caller())).await;
    };
    take(WARM_UP).await;
    let (mut cpu, mut own, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PARTS {
        let before = meter.cpu();
        take(pictures / PARTS).await;
        cpu.push(ms(meter.cpu().saturating_sub(before)) / (pictures / PARTS) as f64);
        own.push(meter::resident(stack.backend_pid()) as f64 / 1e6);
        all.push(meter.memory() as f64 / 1e6);
    }
    for (what, values, unit) in [
        ("processor time of a picture", cpu, "ms"),
        ("memory of the backend", own, "MB"),
        ("memory of all processes", all, "MB"),
    ] {
        // A quarter of the run at each end: single parts hold a browser that was just replaced, or none.
        let (first, last) = (median(&values[..PARTS / 4]), median(&values[PARTS - PARTS / 4..]));
        let figure = format!("{first:.1} {unit}, then {last:.1} {unit} ({:+.1} %)", (last / first - 1.0) * 100.0);
        line(&format!("{what}, first and last quarter of {pictures} on end"), &figure, "within 5 %");
    }
    tokio::task::block_in_place(|| drop(stack));
}
