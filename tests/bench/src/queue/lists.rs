//! A table of a million requests, and how long its newest fifty take.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};
use snaphook::domain::ports::{JobQueue, RequestFilter};
use snaphook::queue::options;

use super::rig;
use crate::figures::{line, spread};

pub(super) const FULL: &str = "full.db";
const ROWS: u64 = 1_000_000;
const CALLS: usize = 500;

/// Copies one request, ended, until there are a million, each with its file and its delivered webhook: what a busy month
/// leaves. By SQL, since through the front door it would take an hour.
pub(super) async fn fill(path: &Path) {
    let count = |connection: &Connection| {
        connection.query_row("SELECT count(*) FROM requests", [], |row| row.get::<_, u64>(0)).expect("a count")
    };
    let connection = Connection::open(path).expect("a database");
    if count(&connection) >= ROWS {
        return;
    }
    let options = options::write(&rig::request().options).expect("JSON");
    let month_ms: u64 = 30 * 24 * 3600 * 1000;
    let first_ms = rig::now_ms() - month_ms;
    let step_ms = month_ms / ROWS;
    connection.busy_timeout(std::time::Duration::from_secs(60)).expect("a setting");
    connection
        .execute(
            "WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1)
             INSERT INTO requests (id, access_key, endpoint, asynchronous, options, target, fingerprint, state, attempts,
                                   due_ms, created_ms, started_ms, finished_ms, render_ms)
             SELECT 'req_' || printf('%012x', ?2 + n * ?3) || lower(hex(randomblob(10))), ?4, '/v1/screenshot', 1, ?5,
                    'https://example.com/some/page', 'f', 'done', 1, ?2 + n * ?3, ?2 + n * ?3, ?2 + n * ?3,
                    ?2 + n * ?3 + 900, 800
             FROM number",
            params![ROWS, first_ms, step_ms, rig::KEY, options],
        )
        .expect("a million rows");
    connection
        .execute(
            "INSERT INTO files (name, request_id, content_type, bytes, expires_ms, removed)
             SELECT lower(hex(randomblob(24))) || '.png', id, 'image/png', 90000, finished_ms + 604800000, 0 FROM requests",
            [],
        )
        .expect("their files");
    connection
        .execute(
            "INSERT INTO deliveries (id, request_id, access_key, url, receiver, endpoint, sign, headers, body, state,
                                     attempts, due_ms, finished_ms)
             SELECT 'msg_' || substr(id, 5), id, access_key, 'https://hooks.example.com/snaphook', 'hooks.example.com',
                    'https://hooks.example.com/snaphook', 1, '[]', x'7b7d', 'delivered', 1, finished_ms, finished_ms
             FROM requests",
            [],
        )
        .expect("their webhooks");
    assert!(count(&connection) >= ROWS);
    let _: Vec<u64> = connection
        .prepare("PRAGMA wal_checkpoint(TRUNCATE)")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .expect("a checkpoint");
}

pub(super) async fn measure(folder: &Path) {
    let queue = rig::open(folder, FULL).await;
    fill(&folder.join(FULL)).await;
    let mut took = Vec::new();
    for _ in 0..CALLS {
        let filter = RequestFilter { access_key: Some(rig::KEY.to_owned()), limit: 50, ..RequestFilter::default() };
        let started = Instant::now();
        let page = queue.requests(filter).await.expect("a page");
        took.push(started.elapsed());
        assert_eq!(page.len(), 50);
    }
    line("the newest 50 of a million requests", &spread(&took, 0.99), "< 5 ms");
}
