//! Backends that have one core each, on one PostgreSQL and one bucket: pictures a second of two of them, of one, and of one
//! that has both cores, in turns.
//!
//! PostgreSQL, the bucket, the pages and the caller are on the same two cores and are not pinned, so two backends cannot
//! reach twice what one does: one of them alone leaves a whole core to all of those.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use snaphook_test_postgres::Server;
use snaphook_tests::random_hex;
use snaphook_tests::s3::{ACCESS_KEY_ID, S3, SECRET_ACCESS_KEY};
use snaphook_tests::stack::{KeyPair, Stack};
use sqlx::PgPool;

use crate::figures::{median, ms};
use crate::meter::Meter;
use crate::pages;

const ROUNDS: usize = 7;
const PICTURES: usize = 40;

/// Backends of one installation.
struct Fleet {
    name: &'static str,
    backends: Vec<Stack>,
    pool: PgPool,
    _bucket: S3,
    rates: Vec<f64>,
    cpu: Vec<f64>,
}

impl Fleet {
    /// A backend for each set of cores, each with so many pages at once.
    async fn start(name: &'static str, server: &Server, cores: &[&str], pages: u32) -> Fleet {
        let (database, bucket) = (server.database(), S3::start("files"));
        let (key, root_key) = (KeyPair::random(), random_hex(32));
        let start = |cores: &&str| {
            Stack::builder()
                .key(key.clone())
                .under(&["taskset", "-c", cores])
                .set("SNAPHOOK_QUEUE_DATABASE_URL", &database)
                .set("SNAPHOOK_RENDER_CONCURRENCY", pages)
                .set("SNAPHOOK_ROOT_KEY", &root_key)
                .set("SNAPHOOK_STORE_URL", "s3://files")
                .set("SNAPHOOK_STORE_ENDPOINT", &bucket.url)
                .set("SNAPHOOK_STORE_ACCESS_KEY_ID", ACCESS_KEY_ID)
                .set("SNAPHOOK_STORE_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
                .start()
        };
        let backends = cores.iter().map(start).collect();
        let pool = PgPool::connect(&database).await.expect("a server");
        Fleet { name, backends, pool, _bucket: bucket, rates: Vec::new(), cpu: Vec::new() }
    }

    fn cpu(&self) -> Duration {
        self.backends.iter().map(|backend| Meter::Tree { root: backend.backend_pid() }.cpu()).sum()
    }

    async fn unfinished(&self) -> i64 {
        let sql = "SELECT count(*) FROM requests WHERE state IN ('queued', 'rendering')";
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("a working server")
    }

    /// Puts pictures into the queue and waits for the last of them.
    async fn round(&mut self, options: &Json, is_counted: bool) {
        let client = self.backends[0].client();
        let (before, started) = (self.cpu(), Instant::now());
        let calls = (0..PICTURES).map(|_| client.enqueue("/v1/screenshot", options));
        futures::future::join_all(calls).await;
        while self.unfinished().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = started.elapsed();
        if is_counted {
            self.rates.push(PICTURES as f64 / took.as_secs_f64());
            self.cpu.push(ms(self.cpu() - before) / PICTURES as f64);
        }
    }
}

pub(super) async fn measure() {
    let (server, site) = (Server::start(), pages::start());
    let mut fleets = [
        Fleet::start("one backend with one core", &server, &["0"], 2).await,
        Fleet::start("two backends with one core each", &server, &["0", "1"], 2).await,
        Fleet::start("one backend with both cores", &server, &["0,1"], 4).await,
    ];
    println!(
        "\n| page | who | pictures/s | of one with one core | least and most | CPU ms of the backends a picture |"
    );
    println!("|---|---|--:|--:|--:|--:|");
    for page in [pages::TRIVIAL, pages::IMAGES] {
        let options = json!({ "url": format!("{}{}", site.url(), page.path), "format": "png", "async": true });
        for round in 0..=ROUNDS {
            for turn in 0..fleets.len() {
                let at = (turn + round) % fleets.len();
                fleets[at].round(&options, round > 0).await;
            }
        }
        let one = fleets[0].rates.clone();
        for fleet in &mut fleets {
            let ratios: Vec<f64> = fleet.rates.iter().zip(&one).map(|(rate, one)| rate / one).collect();
            let (least, most) =
                ratios.iter().fold((f64::MAX, 0.0_f64), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
            println!(
                "| {} | {} | {:.1} | {:.2} | {least:.2}, {most:.2} | {:.0} |",
                page.name,
                fleet.name,
                median(&fleet.rates),
                median(&ratios),
                median(&fleet.cpu)
            );
            fleet.rates.clear();
            fleet.cpu.clear();
        }
    }
    tokio::task::block_in_place(|| drop(fleets));
}
