//! How long a caller waits for a 202, with a hundred of them in a second: the whole service, over HTTP.

use std::time::{Duration, Instant};

use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wire::Wire;

use crate::figures::{line, spread};

const PER_SECOND: u32 = 100;
const SECONDS: u32 = 10;
const ROUND_TRIP: Duration = Duration::from_millis(100);

async fn answers(client: &Client) -> Vec<Duration> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut calls = Vec::new();
    for _ in 0..PER_SECOND * SECONDS {
        ticks.tick().await;
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            let started = Instant::now();
            client.post("/v1/screenshot", &json!({ "html": "<p>x", "async": true })).await.expect(202);
            started.elapsed()
        }));
    }
    futures::future::join_all(calls).await.into_iter().map(|took| took.expect("an answer")).collect()
}

pub(super) async fn measure() {
    let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", 1).edge().start();
    let site = Site::start();
    // The one worker has something to do that costs nothing: renders would be measured too.
    let busy = stack.client().enqueue("/take", &json!({ "url": site.url("/never"), "timeout": 90 })).await;
    let rendering = |view: &serde_json::Value| view["state"] == "rendering";
    stack.client().request_when(&busy, "rendering", Duration::from_secs(30), rendering).await;
    // The Worker is near its caller, and may be far from the backend.
    let (_way, far) = Wire::to_distant_url(&stack.api, ROUND_TRIP / 2);
    let far_edge = stack.another_edge(&[("BACKEND_URL", &far)]);
    for (what, client, aim) in [
        ("the backend", stack.client(), "p95 < 50 ms"),
        ("edge and backend", stack.edge_client(), "p95 < 50 ms"),
        ("edge and backend, a round trip of 100 ms apart", stack.client().at(&far_edge.url), "p95 < 250 ms"),
    ] {
        let took = answers(&client).await;
        line(&format!("time to the 202 at {PER_SECOND}/s, {what}"), &spread(&took, 0.95), aim);
    }
}
