//! Requests accepted, and claimed and ended, in a second on PostgreSQL, against plain appends with a sync each, in turns. The server's
//! files are in the folder for temporary ones: TMPDIR says on which disk.

mod contender;
pub(super) mod jobs;
pub(super) mod rows;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use snaphook::domain::job::Outcome;
use snaphook::domain::operator::{NewKey, Operator};
use snaphook::domain::ports::JobQueue;
use snaphook::queue::postgres::{PostgresQueue, PostgresSettings};
use snaphook::queue::secrets::RootKey;
use snaphook_shared::key::KeyLimits;
use snaphook_shared::secret::Secret;
use snaphook_test_postgres::Server;

use super::accepts::{accepted, raw};
use super::rig;
use crate::figures::{line, median};

const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_millis(1500);
/// A key whose requests are counted one by one, since it may not have all that it asks for.
const LIMITED: &str = "limited";

async fn open(url: &str, folder: &Path) -> PostgresQueue {
    let settings = PostgresSettings { url: Secret::new(url), connections_max: 20, timeout: Duration::from_secs(30) };
    let root_key = RootKey::load("", folder).expect("a root key");
    PostgresQueue::open(&settings, root_key, rig::CAPACITY).await.expect("a database")
}

/// So many workers, each of whom claims a request and ends it at once, again and again.
async fn worked(queue: &Arc<dyn JobQueue>, workers: usize) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let loops = (0..workers).map(|worker| {
        let (queue, count, owner) = (queue.clone(), count.clone(), format!("w{worker}"));
        tokio::spawn(async move {
            while started.elapsed() < TURN {
                let now_ms = rig::now_ms();
                let claimed = queue.claim(&owner, now_ms, now_ms + 600_000).await.expect("a working server");
                let id = claimed.expect("enough that waits").request.id;
                let outcome = Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() };
                assert!(queue.finish(&id, &owner, now_ms, outcome, None).await.expect("a working server"));
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    futures::future::join_all(loops).await;
    count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

pub(super) async fn measure(folder: &Path) {
    let server = Server::start();
    let queue = open(&server.database(), folder).await;
    queue.add_key(NewKey::unlimited(rig::KEY, "a secret for a benchmark"), 0).await.expect("a key");
    let limits = KeyLimits { requests_per_minute: Some(u32::MAX.into()), ..KeyLimits::default() };
    let limited = NewKey { limits, ..NewKey::unlimited(LIMITED, "a secret for a benchmark") };
    queue.add_key(limited, 0).await.expect("a key");
    let queue: Arc<dyn JobQueue> = Arc::new(queue);
    let mut raws = Vec::new();
    let mut rates = [1, 16, 128].map(|callers| (callers, Vec::new(), Vec::new()));
    let (mut serial, mut works) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let syncs = tokio::task::block_in_place(|| raw(folder));
        raws.push(syncs);
        for (callers, rates, ratios) in &mut rates {
            let rate = accepted(&queue, rig::KEY, *callers).await;
            rates.push(rate);
            ratios.push(rate / syncs);
        }
        serial.push(accepted(&queue, LIMITED, 128).await);
        works.push(worked(&queue, 16).await);
    }
    line("write + fdatasync, one thread", &format!("{:.0}/s", median(&raws)), "");
    for (callers, rates, ratios) in &mut rates {
        let figure = format!("{:.0}/s, {:.2} of it", median(rates), median(ratios));
        line(&format!("durable accepts on PostgreSQL, one key, {callers} callers"), &figure, "");
    }
    line("the same with 128 callers, a key with a rate", &format!("{:.0}/s", median(&serial)), "");
    line("claimed and ended by 16 workers, two keys", &format!("{:.0}/s", median(&works)), "");
}
