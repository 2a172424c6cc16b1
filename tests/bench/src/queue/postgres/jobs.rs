//! Jobs a second by the queue and by hand, in turns on one server, and what each asks of the server.

use std::path::Path;
use std::sync::Arc;

use snaphook::domain::operator::{NewKey, Operator};
use snaphook::queue::postgres::PostgresQueue;
use snaphook_test_postgres::Server;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

use super::contender::{self, Contender};
use crate::figures::{line, median, ms};
use crate::meter::{self, Meter};

const ROUNDS: usize = 7;
/// Workers, and jobs of a round.
const SIZES: [(usize, usize); 3] = [(1, 400), (4, 1200), (16, 2400)];
/// As many for each contender.
pub(super) const CONNECTIONS: u32 = 20;
/// Counts statements as the server has them. It costs each contender the same for each statement.
pub(super) const COUNTING: [&str; 2] = ["shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track=top"];

/// A queue with its keys.
pub(super) async fn queue(url: &str, folder: &Path) -> PostgresQueue {
    let queue = super::open(url, folder).await;
    for key in contender::keys() {
        queue.add_key(NewKey::unlimited(key, "a secret for a benchmark"), 0).await.expect("a key");
    }
    queue
}

/// Connections as the queue has them.
pub(super) async fn pool(url: &str) -> PgPool {
    let options =
        PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false).after_connect(|connection, _| {
            Box::pin(async move { sqlx::query("SET synchronous_commit = on").execute(connection).await.map(|_| ()) })
        });
    options.connect(url).await.expect("a server")
}

/// What the server has done since it was started.
#[derive(Clone, Copy, Default)]
struct Load {
    cpu_ms: f64,
    client_cpu_ms: f64,
    wal_bytes: f64,
    /// Transaction numbers, of which parts of transactions that may be undone take one too.
    numbers: f64,
    calls: f64,
}

impl Load {
    async fn read(server: &Meter, admin: &PgPool) -> Load {
        let row = sqlx::query(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 AS wal,
                    pg_snapshot_xmax(pg_current_snapshot())::text::float8 AS numbers,
                    (SELECT coalesce(sum(calls), 0)::float8 FROM pg_stat_statements) AS calls",
        )
        .fetch_one(admin)
        .await
        .expect("figures");
        Load {
            cpu_ms: ms(server.cpu()),
            client_cpu_ms: ms(meter::own_cpu()),
            wal_bytes: row.get("wal"),
            numbers: row.get("numbers"),
            calls: row.get("calls"),
        }
    }

    /// For each of so many jobs.
    fn since(self, before: Load, jobs: usize) -> Load {
        let each = |now: f64, before: f64| (now - before) / jobs as f64;
        Load {
            cpu_ms: each(self.cpu_ms, before.cpu_ms),
            client_cpu_ms: each(self.client_cpu_ms, before.client_cpu_ms),
            wal_bytes: each(self.wal_bytes, before.wal_bytes),
            numbers: each(self.numbers, before.numbers),
            calls: each(self.calls, before.calls),
        }
    }
}

/// What a contender did with so many workers, round by round.
#[derive(Default)]
struct Record {
    rates: Vec<f64>,
    loads: Vec<Load>,
}

impl Record {
    fn middle(&self, of: fn(&Load) -> f64) -> f64 {
        median(&self.loads.iter().map(of).collect::<Vec<f64>>())
    }
}

/// The middle of the ratios within each round.
fn ratio(of: &[f64], to: &[f64]) -> f64 {
    median(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<f64>>())
}

pub(in crate::queue) async fn measure(folder: &Path) {
    let server = Server::start_with_settings(&COUNTING);
    let names = ["the queue", "by hand", "by hand, all the queue's indexes"];
    let mut contenders = Vec::new();
    for (at, _) in names.iter().enumerate() {
        let url = server.database();
        let queue = queue(&url, folder).await;
        contenders.push(Arc::new(match at {
            0 => Contender::Queue(queue),
            _ => Contender::by_hand(pool(&url).await, at == 2).await,
        }));
    }
    let url = server.database();
    let admin = pool(&url).await;
    sqlx::query("CREATE EXTENSION pg_stat_statements").execute(&admin).await.expect("the server's own extension");
    let meter = Meter::Tree { root: server.pid() };
    let mut records: Vec<Vec<Record>> =
        SIZES.iter().map(|_| names.iter().map(|_| Record::default()).collect()).collect();
    for round in 0..=ROUNDS {
        for ((workers, jobs), records) in SIZES.iter().zip(&mut records) {
            for turn in 0..contenders.len() {
                let at = (turn + round) % contenders.len();
                let before = Load::read(&meter, &admin).await;
                let took = contender::run(&contenders[at], *jobs, *workers).await;
                let load = Load::read(&meter, &admin).await.since(before, *jobs);
                // The first round opens connections and prepares statements.
                if round > 0 {
                    records[at].rates.push(*jobs as f64 / took.as_secs_f64());
                    records[at].loads.push(load);
                }
            }
        }
    }
    println!(
        "\n| workers | who | jobs/s | of by hand | server CPU ms | client CPU ms | round trips | transaction numbers | WAL bytes |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|--:|--:|");
    for ((workers, _), records) in SIZES.iter().zip(&records) {
        for (name, record) in names.iter().zip(records) {
            println!(
                "| {workers} | {name} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.0} |",
                median(&record.rates),
                ratio(&record.rates, &records[1].rates),
                record.middle(|load| load.cpu_ms),
                record.middle(|load| load.client_cpu_ms),
                record.middle(|load| load.calls),
                record.middle(|load| load.numbers),
                record.middle(|load| load.wal_bytes),
            );
        }
    }
    println!();
    statements(&admin).await;
}

/// What takes the server's time in the queue's database.
async fn statements(admin: &PgPool) {
    let rows = sqlx::query(
        "SELECT calls, total_exec_time / calls AS each, total_exec_time, regexp_replace(left(query, 70), '\\s+', ' ', 'g') AS query
         FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid
         WHERE d.datname = 'test_0' ORDER BY total_exec_time DESC LIMIT 16",
    )
    .fetch_all(admin)
    .await
    .expect("figures");
    println!("| statement of the queue | calls | ms each | ms |\n|---|--:|--:|--:|");
    for row in rows {
        let query: String = row.get("query");
        println!(
            "| `{}` | {} | {:.3} | {:.0} |",
            query.replace('|', "\\|"),
            row.get::<i64, _>("calls"),
            row.get::<f64, _>("each"),
            row.get::<f64, _>("total_exec_time")
        );
    }
    line("statements counted by pg_stat_statements, on for every contender", "", "");
}
