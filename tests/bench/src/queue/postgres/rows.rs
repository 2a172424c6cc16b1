//! What ended requests cost: the time of a claim beside none and beside millions of them, and the bytes of each. Then what waiting
//! keys cost, and what a transaction does that somebody left open.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snaphook::domain::job::Outcome;
use snaphook::domain::ports::JobQueue;
use snaphook::queue::options;
use snaphook::queue::postgres::PostgresQueue;
use snaphook_test_postgres::Server;
use sqlx::{Connection, Executor, PgConnection, PgPool, Row};

use super::{contender, jobs};
use crate::figures::{line, median, quantile_ms};
use crate::queue::rig;

const ROUNDS: usize = 5;
const CLAIMS: usize = 400;
const WORKERS: usize = 16;
const DEFAULT: [u64; 2] = [0, 1_000_000];
/// Rows of a fresh table that are written in the transaction that empties it need no log.
const LOADING: [&str; 4] = ["wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "shared_buffers=512MB"];
const TABLES: [&str; 5] = ["requests", "request_attempts", "files", "deliveries", "attempts"];

/// A queue with so many ended requests.
struct Filled {
    rows: u64,
    url: String,
    pool: PgPool,
    queue: Arc<PostgresQueue>,
    took: Duration,
}

pub(in crate::queue) async fn measure(folder: &Path, more: &[u64]) {
    let server = Server::start_with_settings(&LOADING);
    let mut filled = Vec::new();
    for rows in DEFAULT.iter().chain(more) {
        filled.push(fill(&server, folder, *rows).await);
    }
    sizes(&filled).await;
    claims(&filled).await;
    keys(&server, folder).await;
    held(&server, folder).await;
}

async fn fill(server: &Server, folder: &Path, rows: u64) -> Filled {
    let url = server.database();
    let queue = Arc::new(jobs::queue(&url, folder).await);
    let pool = jobs::pool(&url).await;
    let started = Instant::now();
    if rows > 0 {
        load(&url, rows).await;
    }
    Filled { rows, url, pool, queue, took: started.elapsed() }
}

/// What a month of that many requests leaves, each with one attempt, a picture and a webhook that arrived at once; three in
/// a hundred failed. Indexes are dropped first and made again from what is there, so they are as small as they can be.
async fn load(url: &str, rows: u64) {
    let mut connection = PgConnection::connect(url).await.expect("a server");
    let indexes: Vec<String> = sqlx::query_scalar(
        "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         WHERE c.relname = ANY($1) AND NOT i.indisprimary",
    )
    .bind(TABLES.map(str::to_owned))
    .fetch_all(&mut connection)
    .await
    .expect("indexes");
    let options = options::write(&rig::request().options).expect("JSON").replace('\'', "''");
    let signatures = serde_json::to_string(&contender::signatures()).expect("JSON");
    let keys: Vec<String> = contender::keys().collect();
    let step_us = 30 * 86_400 * 1_000_000 / rows;
    let script = format!(
        "SET session_replication_role = replica; SET maintenance_work_mem = '512MB'; SET synchronous_commit = off;
         BEGIN;
         DO $$ DECLARE name TEXT; BEGIN
             FOR name IN SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                         WHERE c.relname IN ('requests', 'request_attempts', 'files', 'deliveries', 'attempts')
                           AND NOT i.indisprimary
             LOOP EXECUTE 'DROP INDEX ' || name; END LOOP;
         END $$;
         TRUNCATE requests, request_attempts, files, deliveries, attempts;
         CREATE TEMPORARY VIEW made AS
         SELECT n, lpad(to_hex(at), 12, '0') || left(md5(n::text), 20) AS id, at, n % 100 < 3 AS failed,
                (ARRAY['{keys}'])[1 + n % {count}] AS key
         FROM (SELECT n, (extract(epoch FROM now())::bigint * 1000000 - 2592000000000 + n * {step_us}) / 1000 AS at
               FROM generate_series(0, {last}::bigint) n) s;
         INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, fingerprint, urgency, state, attempts,
                               due_ms, created_ms, started_ms, finished_ms, render_ms, error_code, error_message, error_cause)
         SELECT 'req_' || id, key, '/v1/screenshot', TRUE, '{options}',
                'https://example.com/some/page?with=a&query', md5(id), 3, CASE WHEN failed THEN 'failed' ELSE 'done' END, 1,
                at, at, at + 40, at + 940, CASE WHEN NOT failed THEN 800 + n % 200 END,
                CASE WHEN failed THEN 'host_returned_error' END,
                CASE WHEN failed THEN 'The host of the page answered with an error.' END,
                CASE WHEN failed THEN 'status 404 of https://example.com/some/page' END
         FROM made;
         INSERT INTO request_attempts (request_id, number, started_ms, ended_ms)
         SELECT 'req_' || id, 1, at + 40, at + 940 FROM made;
         INSERT INTO files (name, request_id, content_type, bytes, width, height, expires_ms, part, removed)
         SELECT md5(id) || left(md5('f' || id), 16) || '.png', 'req_' || id, 'image/png', 90000, 1280, 1024,
                at + 604800000, 0, n < {last} - {last} * 7 / 30
         FROM made WHERE NOT failed;
         INSERT INTO deliveries (id, request_id, access_key, url, receiver, endpoint, sign, headers, body, state, attempts,
                                 due_ms, finished_ms)
         SELECT 'msg_' || id, 'req_' || id, key, 'https://' || key || '.example.com/snaphook', key || '.example.com',
                'https://' || key || '.example.com/snaphook', TRUE, '[[\"content-type\",\"application/json\"]]',
                convert_to(rpad('{{\"id\":\"' || id || '\"', 250, md5(id)), 'UTF8'), 'delivered', 1, at + 940, at + 990
         FROM made;
         INSERT INTO attempts (delivery_id, number, at_ms, took_ms, status, answer, headers)
         SELECT 'msg_' || id, 1, at + 945, 20, 200, 'ok', '{signatures}' FROM made;
         COMMIT;
         {indexes};",
        keys = keys.join("','"),
        count = keys.len(),
        last = rows - 1,
        indexes = indexes.join(";\n"),
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut connection).await.expect("rows");
    for table in TABLES {
        let sql = format!("VACUUM (ANALYZE) {table}");
        connection.execute(sqlx::AssertSqlSafe(sql)).await.expect("a look at every row");
    }
    connection.execute("CHECKPOINT").await.expect("a checkpoint");
}

async fn sizes(filled: &[Filled]) {
    println!("\n| ended requests | loaded in s | table | rows' bytes a request | indexes' | out of line | all |");
    println!("|--:|--:|---|--:|--:|--:|--:|");
    for Filled { rows, pool, took, .. } in filled.iter().filter(|filled| filled.rows > 0) {
        let found = sqlx::query(
            "SELECT c.relname, pg_relation_size(c.oid)::float8 AS heap, pg_indexes_size(c.oid)::float8 AS indexes,
                    (CASE c.reltoastrelid WHEN 0 THEN 0 ELSE pg_total_relation_size(c.reltoastrelid) END)::float8 AS toast,
                    pg_total_relation_size(c.oid)::float8 AS total
             FROM pg_class c WHERE c.relname = ANY($1) AND c.relkind = 'r' ORDER BY total DESC",
        )
        .bind(TABLES.map(str::to_owned))
        .fetch_all(pool)
        .await
        .expect("sizes");
        let each = |row: &sqlx::postgres::PgRow, name: &str| row.get::<f64, _>(name) / *rows as f64;
        let mut sum = [0.0; 4];
        for row in &found {
            let columns = ["heap", "indexes", "toast", "total"].map(|name| each(row, name));
            sum.iter_mut().zip(columns).for_each(|(sum, column)| *sum += column);
            let [heap, indexes, toast, total] = columns;
            let name: String = row.get("relname");
            println!(
                "| {rows} | {:.0} | {name} | {heap:.0} | {indexes:.0} | {toast:.0} | {total:.0} |",
                took.as_secs_f64()
            );
        }
        let [heap, indexes, toast, total] = sum;
        println!(
            "| {rows} | {:.0} | all | {heap:.0} | {indexes:.0} | {toast:.0} | **{total:.0}** |",
            took.as_secs_f64()
        );
    }
    println!();
}

async fn accept(queue: &PostgresQueue, count: usize) {
    let accepts = (0..count).map(|number| queue.accept(rig::request_of(&contender::key(number))));
    use futures::StreamExt;
    let accepted: Vec<_> = futures::stream::iter(accepts).buffer_unordered(WORKERS).collect().await;
    accepted.into_iter().for_each(|accepted| drop(accepted.expect("a working server")));
}

async fn claim(queue: &PostgresQueue, owner: &str) -> Option<String> {
    let now_ms = rig::now_ms();
    let claimed = queue.claim(owner, now_ms, now_ms + 600_000).await.expect("a working server");
    claimed.map(|claimed| claimed.request.id)
}

async fn finish(queue: &PostgresQueue, id: &str, owner: &str) {
    let outcome = Outcome::Done { file: None, parts: Vec::new(), render_ms: 1, refused: Vec::new() };
    assert!(queue.finish(id, owner, rig::now_ms(), outcome, None).await.expect("a working server"));
}

/// Claims one after the other, each timed, and ends what was claimed.
async fn one_by_one(queue: &PostgresQueue, count: usize) -> Vec<Duration> {
    accept(queue, count).await;
    let mut took = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        let id = claim(queue, "one").await.expect("one that waits");
        took.push(started.elapsed());
        finish(queue, &id, "one").await;
    }
    took
}

/// Claims by many at once; gives how many a second.
async fn together(queue: &Arc<PostgresQueue>, count: usize) -> f64 {
    accept(queue, count).await;
    let started = Instant::now();
    let claims = (0..WORKERS).map(|worker| {
        let (queue, owner) = (queue.clone(), format!("worker {worker}"));
        tokio::spawn(async move {
            let mut ids = Vec::new();
            while let Some(id) = claim(&queue, &owner).await {
                ids.push((id, owner.clone()));
            }
            ids
        })
    });
    let claimed = futures::future::join_all(claims).await;
    let took = started.elapsed();
    let claimed: Vec<_> = claimed.into_iter().flat_map(|ids| ids.expect("a worker")).collect();
    for (id, owner) in &claimed {
        finish(queue, id, owner).await;
    }
    claimed.len() as f64 / took.as_secs_f64()
}

async fn claims(filled: &[Filled]) {
    let mut records: Vec<(Vec<Duration>, Vec<f64>)> = filled.iter().map(|_| Default::default()).collect();
    for round in 0..=ROUNDS {
        for turn in 0..filled.len() {
            let at = (turn + round) % filled.len();
            let took = one_by_one(&filled[at].queue, CLAIMS).await;
            let rate = together(&filled[at].queue, CLAIMS * 4).await;
            if round > 0 {
                records[at].0.extend(took);
                records[at].1.push(rate);
            }
        }
    }
    let (first_ms, first_rate) = (quantile_ms(&records[0].0, 0.5), median(&records[0].1));
    println!("| ended requests | a claim, p50 ms | of none | p99 ms | claims/s, {WORKERS} workers | of none |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for (Filled { rows, .. }, (took, rates)) in filled.iter().zip(&records) {
        let (p50, rate) = (quantile_ms(took, 0.5), median(rates));
        println!(
            "| {rows} | {p50:.2} | {:.2} | {:.2} | {rate:.0} | {:.2} |",
            p50 / first_ms,
            quantile_ms(took, 0.99),
            rate / first_rate
        );
    }
    println!();
}

/// A claim looks at each key that waits.
async fn keys(server: &Server, folder: &Path) {
    let filled = fill(server, folder, 0).await;
    println!("| keys with something that waits | a claim, p50 ms | p99 ms |\n|--:|--:|--:|");
    let mut before = 0;
    for count in [1, 100, 1_000, 10_000] {
        sqlx::query(
            "INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, fingerprint, urgency, state,
                                   due_ms, created_ms)
             SELECT 'req_' || md5(n || '.' || m), 'many' || lpad(n::text, 6, '0'), '/take', TRUE, '{}', '', '', 3, 'queued', 1, 1
             FROM generate_series($1::bigint, $2::bigint - 1) n, generate_series(1, 3) m",
        )
        .bind(before)
        .bind(count)
        .execute(&filled.pool)
        .await
        .expect("rows");
        filled.pool.execute("ANALYZE requests; ANALYZE turns").await.expect("a look at them");
        before = count;
        let mut took = Vec::new();
        for _ in 0..60 {
            let (started, now_ms) = (Instant::now(), rig::now_ms() as i64);
            let claimed = sqlx::query("SELECT id FROM claim_request('one', $1, $1 + 600000, '{}')")
                .bind(now_ms)
                .fetch_optional(&filled.pool)
                .await;
            took.push(started.elapsed());
            let Some(row) = claimed.expect("a working server") else { continue };
            let id: String = row.get("id");
            sqlx::query(
                "UPDATE requests SET state = 'queued', lease_owner = NULL, lease_until_ms = NULL WHERE id = $1",
            )
            .bind(id)
            .execute(&filled.pool)
            .await
            .expect("a working server");
        }
        println!("| {count} | {:.2} | {:.2} |", quantile_ms(&took, 0.5), quantile_ms(&took, 0.99));
    }
    println!();
}

/// Rows that were claimed and ended stay in the indexes of what waits until a vacuum, which passes over whatever the oldest
/// transaction may still see.
async fn held(server: &Server, folder: &Path) {
    // More would not end: each claim goes over all that were claimed before.
    const JOBS: [usize; 2] = [1_000, 4_000];
    let filled = fill(server, folder, 0).await;
    let row = |what: &str, took: &[Duration]| {
        println!("| {what} | {:.2} | {:.2} |", quantile_ms(took, 0.5), quantile_ms(took, 0.99));
    };
    println!("| a transaction left open | a claim, p50 ms | p99 ms |\n|---|--:|--:|");
    row("before", &one_by_one(&filled.queue, CLAIMS).await);
    let mut reader = PgConnection::connect(&filled.url).await.expect("a server");
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("a transaction");
    reader.execute("SELECT count(*) FROM keys").await.expect("a snapshot");
    for jobs in JOBS {
        together(&filled.queue, jobs).await;
        row(&format!("after {jobs} more jobs beside it"), &one_by_one(&filled.queue, CLAIMS).await);
    }
    reader.execute("COMMIT").await.expect("its end");
    row("ended", &one_by_one(&filled.queue, CLAIMS).await);
    filled.pool.execute("VACUUM requests").await.expect("a vacuum");
    row("ended, and vacuumed", &one_by_one(&filled.queue, CLAIMS).await);
    let all = JOBS.iter().sum::<usize>() + JOBS.len() * CLAIMS;
    line("jobs in all beside the open transaction", &all.to_string(), "");
}
