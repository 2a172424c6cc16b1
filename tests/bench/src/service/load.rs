//! More and more calls in a second, whether or not earlier ones were answered: how long those wait that are accepted, and
//! how many are refused.

use std::time::{Duration, Instant};

use serde_json::json;
use snaphook_tests::client::Client;
use snaphook_tests::repository;
use snaphook_tests::stack::Stack;

use crate::figures::{line, quantile_ms};
use crate::pages;
use crate::plot::{self, Curve, Tone};

/// Of what the service can do.
const OFFERED: [f64; 7] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0];
const SECONDS: f64 = 12.0;
const CALLERS: usize = 4;

/// Pictures a second by callers of whom each waits for its answer.
async fn capacity(client: &Client, url: &str) -> f64 {
    let started = Instant::now();
    let caller = async || {
        let mut count = 0_u32;
        while started.elapsed().as_secs_f64() < SECONDS {
            client.take(&json!({ "url": url })).await.expect(200);
            count += 1;
        }
        count
    };
    let counts = futures::future::join_all((0..CALLERS).map(|_| caller())).await;
    f64::from(counts.into_iter().sum::<u32>()) / started.elapsed().as_secs_f64()
}

/// What became of calls at such a rate: the times of those with a picture, the number of those refused.
async fn offer(client: &Client, url: &str, rate: f64) -> (Vec<Duration>, usize) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let mut calls = Vec::new();
    for _ in 0..(rate * SECONDS) as usize {
        ticks.tick().await;
        let (client, url) = (client.clone(), url.to_owned());
        calls.push(tokio::spawn(async move {
            let started = Instant::now();
            let answer = client.take(&json!({ "url": url, "timeout": 60 })).await;
            match answer.status.as_u16() {
                200 => Some(started.elapsed()),
                _ => {
                    assert!(!answer.header("retry-after").is_empty(), "{}", answer.text());
                    None
                }
            }
        }));
    }
    let ends = futures::future::join_all(calls).await;
    let times: Vec<Duration> = ends.iter().filter_map(|end| *end.as_ref().expect("an answer")).collect();
    let refused = ends.len() - times.len();
    (times, refused)
}

pub(super) async fn measure() {
    let stack = Stack::builder().start();
    let (site, client) = (pages::start(), stack.client());
    let url = format!("{}{}", site.url(), pages::TRIVIAL.path);
    let capacity = capacity(&client, &url).await;
    line(&format!("pictures a second, {CALLERS} callers"), &format!("{capacity:.1}"), "");
    let (mut middle, mut high, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for part in OFFERED {
        let (times, refused) = offer(&client, &url, capacity * part).await;
        let (p50, p95) = (quantile_ms(&times, 0.5), quantile_ms(&times, 0.95));
        let share = refused as f64 / (refused + times.len()) as f64;
        let figure = format!("p50 {p50:.0} ms, p95 {p95:.0} ms, {:.0} % refused", share * 100.0);
        line(&format!("{part} of that offered for {SECONDS} s"), &figure, "");
        middle.push((part, p50));
        high.push((part, p95));
        refusals.push((part, share * 100.0));
    }
    let curves = [
        Curve { name: "p95, ms", tone: Tone::Ceiling, points: high },
        Curve { name: "p50, ms", tone: Tone::Ours, points: middle },
    ];
    let refused = [Curve { name: "refused, %", tone: Tone::Ours, points: refusals }];
    let across = "calls offered, of what the service can do";
    let folder = repository("target/bench");
    std::fs::create_dir_all(&folder).expect("a folder for plots");
    let latency = plot::curves("Time to the picture under load, of calls that are accepted", across, &curves);
    std::fs::write(folder.join("load-latency.svg"), latency).expect("room for a plot");
    let refusals = plot::curves("Calls that are refused under load", across, &refused);
    std::fs::write(folder.join("load-refused.svg"), refusals).expect("room for a plot");
    tokio::task::block_in_place(|| drop(stack));
}
