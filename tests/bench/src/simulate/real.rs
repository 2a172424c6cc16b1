//! The simulator against a real backend: the same arrivals, and how old requests are when they are claimed.
//!
//! Times of renders are those that the backend had in this very run, drawn by the simulator's dice; everything else is its own.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;
use snaphook_tests::stack::Stack;

use super::histogram::Histogram;
use super::traffic::{Bursts, Kind, Traffic};
use super::world::{self, Arrival, SECOND, Service, World};
use super::{OVERHEAD_S, SEED};
use crate::pages;

const SLOTS: usize = 2;
const SECONDS: f64 = 120.0;
const WARM_UP: usize = 40;

/// One request as the backend had it, times in milliseconds.
struct Row {
    key: String,
    created: u64,
    started: u64,
    finished: u64,
}

fn rows(stack: &Stack, since_ms: u64) -> Vec<Row> {
    let database = Connection::open(stack.data_dir().join("snaphook.db")).expect("the service's database");
    let mut statement = database
        .prepare("SELECT access_key, created_ms, started_ms, finished_ms FROM requests WHERE created_ms >= ?1 AND state = 'done'")
        .expect("SQL");
    let rows = statement.query_map([since_ms], |row| {
        Ok(Row { key: row.get(0)?, created: row.get(1)?, started: row.get(2)?, finished: row.get(3)? })
    });
    rows.and_then(Iterator::collect).expect("rows")
}

async fn wait_for(stack: &Stack, since_ms: u64, count: usize) -> Vec<Row> {
    snaphook_tests::wait::for_it("all renders", Duration::from_secs(300), || {
        Some(rows(stack, since_ms)).filter(|rows| rows.len() >= count)
    })
    .await
}

fn now_ms() -> u64 {
    crate::queue::now_ms()
}

/// How long slots are taken, in seconds.
fn held(rows: &[Row]) -> Vec<f64> {
    rows.iter().map(|row| (row.finished - row.started) as f64 / 1000.0).collect()
}

pub(super) fn compare() {
    snaphook_tests::run(async {
        let stack = Stack::builder().set("SNAPHOOK_RENDER_CONCURRENCY", SLOTS).start();
        let site = pages::start();
        let quiet = stack.client();
        let bursting_key = stack.new_key();
        let bursting = quiet.with_key(&bursting_key);
        let options: Vec<_> = [pages::TRIVIAL, pages::TEXT, pages::IMAGES]
            .iter()
            .map(|page| json!({ "url": format!("{}{}", site.url(), page.path), "format": "png", "async": true }))
            .collect();
        let since = now_ms();
        for number in 0..WARM_UP {
            quiet.enqueue("/v1/screenshot", &options[number % options.len()]).await;
        }
        let warm = held(&wait_for(&stack, since, WARM_UP).await);
        let mean = warm.iter().skip(10).sum::<f64>() / (warm.len() - 10) as f64;
        let capacity = SLOTS as f64 / mean;
        let traffic = Traffic {
            seed: SEED,
            seconds: SECONDS,
            rate: capacity * 0.45,
            swing: 0.0,
            kinds: vec![Kind { keys: 1, share: 1.0 }],
            bursts: Some(Bursts { keys: 1, rate: capacity * 1.5, on: 6.0, off: 24.0 }),
            classes: vec![1.0; options.len()],
        };
        let arrivals: Vec<Arrival> = traffic.arrivals().collect();

        let (started, since) = (tokio::time::Instant::now(), now_ms());
        let began = Instant::now();
        let mut calls = Vec::new();
        for arrival in &arrivals {
            tokio::time::sleep_until(started + Duration::from_micros(arrival.at)).await;
            let client = if arrival.key == 0 { quiet.clone() } else { bursting.clone() };
            let options = options[arrival.class].clone();
            calls.push(tokio::spawn(async move { client.enqueue("/v1/screenshot", &options).await }));
        }
        let sent = began.elapsed();
        for call in calls {
            call.await.expect("an accepted request");
        }
        let rows = wait_for(&stack, since, arrivals.len()).await;
        let slots_taken: f64 = held(&rows).iter().sum::<f64>() / (SLOTS as f64 * SECONDS);

        let mut real = vec![Histogram::default(); 2];
        for row in &rows {
            let is_bursting = row.key == bursting_key.access_key;
            real[usize::from(is_bursting)].add((row.started - row.created) * 1000);
        }
        let service = Service::Sample(held(&rows).iter().map(|held| held + OVERHEAD_S).collect());
        let world = World {
            keys: 2,
            groups: traffic.groups(),
            machines: 1,
            slots_each: SLOTS,
            ..World::quiet(SEED, SLOTS, vec![service; options.len()])
        };
        // By key, as the real ones: what came while the other one burst is the same key's.
        let by_key = arrivals.iter().map(|arrival| Arrival { group: arrival.key, ..*arrival });
        let simulated = world::run(&world, by_key);

        println!(
            "{} requests in {:.0} s to {SLOTS} slots; {:.0} ms a render before, {:.0} ms in the run; slots taken {slots_taken:.2}, simulated {:.2}\n",
            arrivals.len(),
            sent.as_secs_f64(),
            mean * 1000.0,
            held(&rows).iter().sum::<f64>() / rows.len() as f64 * 1000.0,
            simulated.utilisation * arrivals.last().map_or(0.0, |last| last.at as f64 / SECOND as f64) / SECONDS,
        );
        println!("| queue age | requests | mean s | p50 s | p95 s | p99 s |\n|---|--:|--:|--:|--:|--:|");
        for (key, real, simulated) in
            [("steady key", &real[0], &simulated.ages[0]), ("key that bursts", &real[1], &simulated.ages[1])]
        {
            for (who, ages) in [("real", real), ("simulated", simulated)] {
                let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| ages.quantile(part));
                println!("| {key}, {who} | {} | {:.2} | {p50:.2} | {p95:.2} | {p99:.2} |", ages.count(), ages.mean());
            }
        }
        tokio::task::block_in_place(|| drop(stack));
    });
}
