//! Resident memory of the backend's own process, without Chromium: idle, with jobs under way, with many that wait.

use std::time::Duration;

use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;

use crate::figures::line;
use crate::meter;

const JOBS: usize = 16;
const QUEUED: usize = 100_000;
const CALLERS: usize = 64;

fn resident_mb(stack: &Stack) -> f64 {
    meter::resident(stack.backend_pid()) as f64 / 1e6
}

/// So many requests, by callers of whom each waits for its answer.
async fn enqueue(client: &Client, count: usize) {
    let caller = async || {
        for _ in 0..count.div_ceil(CALLERS) {
            client.enqueue("/v1/screenshot", &json!({ "html": "<p>x" })).await;
        }
    };
    futures::future::join_all((0..CALLERS).map(|_| caller())).await;
}

pub(super) async fn measure() {
    let site = Site::start();
    let stack = Stack::builder()
        .set("SNAPHOOK_RENDER_CONCURRENCY", JOBS)
        .set("SNAPHOOK_QUEUE_CAPACITY", QUEUED * 2)
        .set("SNAPHOOK_RENDER_WAITING_MAX", CALLERS)
        .start();
    let client = stack.client();
    for _ in 0..3 {
        client.take(&json!({ "html": "<p>x" })).await.expect(200);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = resident_mb(&stack);
    line("memory of the idle backend, without Chromium", &format!("{idle:.0} MB"), "≤ 40 MB");
    for _ in 0..JOBS {
        client.enqueue("/take", &json!({ "url": site.url("/never"), "timeout": 600 })).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let busy = resident_mb(&stack);
    let each = (busy - idle) / JOBS as f64;
    line(&format!("more for each of {JOBS} pages under way"), &format!("{each:.2} MB"), "≤ 5 MB");
    enqueue(&client, QUEUED).await;
    let full = resident_mb(&stack);
    line(&format!("more with {QUEUED} that wait"), &format!("{:.0} MB", full - busy), "≤ 30 MB");
}
