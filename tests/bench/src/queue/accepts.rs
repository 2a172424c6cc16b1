//! Requests accepted durably in a second, against plain appends with a sync each on the same disk, in turns.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use snaphook::domain::ports::{Acceptance, JobQueue};
use snaphook::queue::options;

use super::{lists, rig};
use crate::figures::{line, median};

const TURN: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 7;

/// One thread that appends what a request weighs and waits for the disk, again and again.
pub(super) fn raw(folder: &Path) -> f64 {
    let mut file = File::create(folder.join("raw")).expect("a file");
    let row = options::write(&rig::request().options).expect("JSON").into_bytes();
    let (started, mut count) = (Instant::now(), 0_u32);
    while started.elapsed() < TURN {
        file.write_all(&row).expect("room on the disk");
        file.sync_data().expect("a disk that syncs");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// So many callers, each of whom waits for its answer before it asks again.
pub(super) async fn accepted(queue: &Arc<dyn JobQueue>, key: &'static str, callers: usize) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let calls = (0..callers).map(|_| {
        let (queue, count) = (queue.clone(), count.clone());
        tokio::spawn(async move {
            while started.elapsed() < TURN {
                let accepted = queue.accept(rig::request_of(key)).await.expect("a working disk");
                assert!(matches!(accepted, Acceptance::Accepted { .. }), "{accepted:?}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    futures::future::join_all(calls).await;
    count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

pub(super) async fn measure(folder: &Path) {
    let empty: Arc<dyn JobQueue> = Arc::new(rig::open(folder, "accepts.db").await);
    let full: Arc<dyn JobQueue> = Arc::new(rig::open(folder, lists::FULL).await);
    lists::fill(&folder.join(lists::FULL)).await;
    let mut raws = Vec::new();
    let mut rates = [1, 16, 128].map(|callers| (callers, Vec::new(), Vec::new()));
    let (mut fulls, mut full_ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let syncs = tokio::task::block_in_place(|| raw(folder));
        raws.push(syncs);
        let mut last = 0.0;
        for (callers, rates, ratios) in &mut rates {
            last = accepted(&empty, rig::KEY, *callers).await;
            rates.push(last);
            ratios.push(last / syncs);
        }
        let rate = accepted(&full, rig::KEY, 128).await;
        fulls.push(rate);
        full_ratios.push(rate / last);
    }
    line("write + fdatasync, one thread", &format!("{:.0}/s", median(&raws)), "");
    for (callers, rates, ratios) in &mut rates {
        let aim = if *callers == 128 { "≥ 0.5 of it" } else { "" };
        let figure = format!("{:.0}/s, {:.2} of it", median(rates), median(ratios));
        line(&format!("durable accepts, {callers} callers"), &figure, aim);
    }
    let figure = format!("{:.0}/s, {:.2} of empty", median(&fulls), median(&full_ratios));
    line("the same with 128 callers and a million requests there", &figure, "≥ 0.9 of empty");
}
