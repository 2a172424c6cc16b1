//! Files that are fetched by their link, against a server that has the same bytes in memory, in turns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::serve::{Port, Server, full};
use snaphook_tests::stack::Stack;

use crate::figures::{line, median};

const CALLERS: usize = 16;
const TURN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
/// Bytes of text on a page whose HTML is the file.
const LARGE: usize = 2_000_000;

/// Fetches a second.
async fn fetched(client: &Client, url: &str, bytes: usize) -> f64 {
    let count = AtomicU64::new(0);
    let started = Instant::now();
    let caller = async || {
        while started.elapsed() < TURN {
            let answer = client.get(url).await.expect(200);
            assert_eq!(answer.body.len(), bytes);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    futures::future::join_all((0..CALLERS).map(|_| caller())).await;
    count.into_inner() as f64 / started.elapsed().as_secs_f64()
}

pub(super) async fn measure() {
    let stack = Stack::builder().start();
    let client = stack.client();
    let text = "word ".repeat(LARGE / 5);
    for (what, options) in [
        ("a picture", json!({ "html": "<h1>Hello" })),
        ("an HTML file", json!({ "html": format!("<p>{text}"), "format": "html" })),
    ] {
        let id = client.enqueue("/take", &options).await;
        let link =
            client.done(&id, Duration::from_secs(60)).await["file"]["url"].as_str().unwrap_or_default().to_owned();
        let file: Bytes = client.get(&link).await.expect(200).body;
        let bytes = file.len();
        let limit = Server::start(Port::reserve(), move |_| {
            let file = file.clone();
            async move { Response::new(full(file)) }
        });
        let (mut rates, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let most = fetched(&client, &limit.url(), bytes).await;
            let ours = fetched(&client, &link, bytes).await;
            rates.push(ours);
            ratios.push(ours / most);
        }
        let figure = format!("{:.0}/s, {:.2} of the same from memory", median(&rates), median(&ratios));
        line(&format!("{what} of {} KB by its link, {CALLERS} callers", bytes / 1000), &figure, "");
        limit.stop().await;
    }
}
