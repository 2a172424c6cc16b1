//! The whole life of a request in PostgreSQL, done by the queue and done by hand.
//!
//! By hand means: the rows that a job leaves, written by somebody who wants them and nothing else. Statements are as few as
//! they can be; a claim is `FOR UPDATE SKIP LOCKED`; a request's end and its webhook are one transaction. What is left out is what
//! a row alone does not give: turns of keys, limits, counters, endpoints that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use snaphook::domain::artifact::Size;
use snaphook::domain::delivery::{DeliveryAttempt, DeliveryBody, NewDelivery, NextStep};
use snaphook::domain::job::{NewRequest, Outcome, StoredFile};
use snaphook::domain::ports::{Acceptance, JobQueue};
use snaphook::queue::options;
use snaphook::queue::postgres::PostgresQueue;
use snaphook_tests::random_hex;
use sqlx::{PgPool, Row};

use crate::queue::rig;

/// Requests are of so many keys, whose webhooks go to a host each.
const KEYS: usize = 32;
const LEASE_MS: u64 = 600_000;
/// Webhooks leased at once, as the service does it, and places of a receiver.
const BATCH: u32 = 1024;
const PER_RECEIVER: u32 = 8;

/// Who does the jobs.
pub(super) enum Contender {
    Queue(PostgresQueue),
    ByHand(PgPool),
}

/// The name of a key.
pub(super) fn key(number: usize) -> String {
    format!("key{:02}", number % KEYS)
}

pub(super) fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(key)
}

/// A picture, as the store has it.
pub(super) fn picture(now_ms: u64) -> StoredFile {
    StoredFile {
        name: format!("{}.png", random_hex(24)),
        content_type: "image/png".to_owned(),
        bytes: 90_000,
        size: Some(Size { width: 1280, height: 1024 }),
        expires_ms: now_ms + 604_800_000,
        attachment: None,
    }
}

fn webhook(request: &NewRequest) -> NewDelivery {
    NewDelivery {
        id: request.id.replacen("req_", "msg_", 1),
        url: format!("https://{}.example.com/snaphook", request.access_key),
        sign: true,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: DeliveryBody::Inline(vec![b'x'; 250]),
    }
}

fn answered(number: u32) -> DeliveryAttempt {
    DeliveryAttempt {
        number,
        at_ms: rig::now_ms(),
        took_ms: 20,
        status: Some(200),
        error: None,
        answer: "ok".to_owned(),
        headers: signatures(),
    }
}

/// As long as those of an attempt.
pub(super) fn signatures() -> Vec<(String, String)> {
    let pair = |name: &str, length: usize| (name.to_owned(), "0".repeat(length));
    vec![
        pair("x-screenshotone-signature", 64),
        pair("x-screenshotmax-webhook-signature", 64),
        pair("webhook-id", 36),
        pair("webhook-timestamp", 10),
        pair("webhook-signature", 47),
    ]
}

/// Tables of the same columns, with what an index is needed for: identity, and what is due.
const BY_HAND: [&str; 6] = [
    "CREATE TABLE hand_requests (LIKE requests INCLUDING DEFAULTS, PRIMARY KEY (id)) WITH (fillfactor = 80)",
    "CREATE TABLE hand_attempts (LIKE request_attempts INCLUDING DEFAULTS, PRIMARY KEY (request_id, number))",
    "CREATE TABLE hand_files (LIKE files INCLUDING DEFAULTS, PRIMARY KEY (name))",
    "CREATE TABLE hand_deliveries (LIKE deliveries INCLUDING DEFAULTS, PRIMARY KEY (id)) WITH (fillfactor = 80)",
    "CREATE TABLE hand_delivery_attempts (LIKE attempts INCLUDING DEFAULTS, PRIMARY KEY (delivery_id, number))",
    "CREATE INDEX hand_due ON hand_requests (due_ms) WHERE state = 'queued'",
];
const BY_HAND_OUTBOX: &str = "CREATE INDEX hand_outbox ON hand_deliveries (due_ms) WHERE state = 'pending'";

/// The same with every index that the queue's tables have.
const AS_THE_QUEUE: [&str; 5] = [
    "CREATE TABLE hand_requests (LIKE requests INCLUDING ALL) WITH (fillfactor = 80)",
    "CREATE TABLE hand_attempts (LIKE request_attempts INCLUDING ALL)",
    "CREATE TABLE hand_files (LIKE files INCLUDING ALL)",
    "CREATE TABLE hand_deliveries (LIKE deliveries INCLUDING ALL) WITH (fillfactor = 80)",
    "CREATE TABLE hand_delivery_attempts (LIKE attempts INCLUDING ALL)",
];

impl Contender {
    /// By hand, in a database that the queue has made its tables in.
    pub(super) async fn by_hand(pool: PgPool, all_indexes: bool) -> Contender {
        let statements: Vec<&str> = match all_indexes {
            true => AS_THE_QUEUE.into_iter().chain(BY_HAND.into_iter().skip(5)).chain([BY_HAND_OUTBOX]).collect(),
            false => BY_HAND.into_iter().chain([BY_HAND_OUTBOX]).collect(),
        };
        for sql in statements {
            sqlx::query(sql).execute(&pool).await.expect("a table");
        }
        Contender::ByHand(pool)
    }

    pub(super) async fn accept(&self, number: usize) {
        let request = rig::request_of(&key(number));
        match self {
            Contender::Queue(queue) => {
                let accepted = queue.accept(request).await.expect("a working server");
                assert!(matches!(accepted, Acceptance::Accepted { .. }), "{accepted:?}");
            }
            Contender::ByHand(pool) => insert(pool, &request).await.expect("a working server"),
        }
    }

    /// Claims a request and ends it with a picture and a webhook; false if none waits.
    pub(super) async fn render(&self, owner: &str) -> bool {
        let now_ms = rig::now_ms();
        match self {
            Contender::Queue(queue) => {
                let claimed = queue.claim(owner, now_ms, now_ms + LEASE_MS).await.expect("a working server");
                let Some(claimed) = claimed else { return false };
                let webhook = webhook(&claimed.request);
                let outcome = Outcome::Done {
                    file: Some(picture(now_ms)),
                    parts: Vec::new(),
                    render_ms: 130,
                    refused: Vec::new(),
                };
                let ended = queue.finish(&claimed.request.id, owner, rig::now_ms(), outcome, Some(webhook)).await;
                assert!(ended.expect("a working server"), "the lease is long");
                true
            }
            Contender::ByHand(pool) => render(pool, owner, now_ms).await.expect("a working server"),
        }
    }

    /// Leases what is due, and keeps that it has arrived, `together` at a time. Gives how many.
    pub(super) async fn deliver(&self, together: usize) -> usize {
        let now_ms = rig::now_ms();
        match self {
            Contender::Queue(queue) => {
                let claimed = queue.claim_deliveries(now_ms, now_ms + LEASE_MS, BATCH, PER_RECEIVER).await;
                let ends = claimed.expect("a working server").into_iter().map(|claimed| async move {
                    let ended =
                        queue.finish_attempt(&claimed.delivery.id, answered(claimed.number), NextStep::Delivered);
                    ended.await.expect("a working server");
                });
                futures::stream::iter(ends).buffer_unordered(together).count().await
            }
            Contender::ByHand(pool) => {
                let claimed = claim_deliveries(pool, now_ms).await.expect("a working server");
                let ends = claimed.into_iter().map(|(id, number)| async move {
                    end_delivery(pool, &id, answered(number)).await.expect("a working server");
                });
                futures::stream::iter(ends).buffer_unordered(together).count().await
            }
        }
    }
}

async fn insert(pool: &PgPool, request: &NewRequest) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO hand_requests (id, access_key, endpoint, asynchronous, options, target, fingerprint, urgency, state,
                                    due_ms, created_ms)
         VALUES ($1, $2, $3, TRUE, $4, $5, $6, 3, 'queued', $7, $7)",
    )
    .bind(&request.id)
    .bind(&request.access_key)
    .bind(request.endpoint.path())
    .bind(options::write(&request.options).expect("JSON"))
    .bind(request.options.source.label())
    .bind(&request.fingerprint)
    .bind(request.created_ms as i64)
    .execute(pool)
    .await
    .map(|_| ())
}

async fn render(pool: &PgPool, owner: &str, now_ms: u64) -> sqlx::Result<bool> {
    let claimed = sqlx::query(
        "WITH claimed AS (
             UPDATE hand_requests SET state = 'rendering', attempts = attempts + 1, lease_owner = $1, lease_until_ms = $2,
                                      started_ms = coalesce(started_ms, $3)
             WHERE id = (SELECT id FROM hand_requests WHERE state = 'queued' AND due_ms <= $3
                         ORDER BY due_ms LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING *
         ), attempt AS (
             INSERT INTO hand_attempts (request_id, number, started_ms) SELECT id, attempts, $3 FROM claimed
         )
         SELECT * FROM claimed",
    )
    .bind(owner)
    .bind((now_ms + LEASE_MS) as i64)
    .bind(now_ms as i64)
    .fetch_optional(pool)
    .await?;
    let Some(row) = claimed else { return Ok(false) };
    let mut request = rig::request_of(row.try_get("access_key")?);
    request.id = row.try_get("id")?;
    request.options = options::read(row.try_get("options")?).expect("JSON");
    let (webhook, file, now_ms) = (webhook(&request), picture(now_ms), rig::now_ms() as i64);

    let mut transaction = pool.begin().await?;
    sqlx::query(
        "WITH ended AS (
             UPDATE hand_requests SET state = 'done', finished_ms = $3, render_ms = 130, lease_owner = NULL,
                                      lease_until_ms = NULL
             WHERE id = $1 AND state = 'rendering' AND lease_owner = $2 RETURNING id, attempts
         )
         UPDATE hand_attempts a SET ended_ms = $3 FROM ended
         WHERE a.request_id = ended.id AND a.number = ended.attempts",
    )
    .bind(&request.id)
    .bind(owner)
    .bind(now_ms)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO hand_files (name, request_id, content_type, bytes, width, height, expires_ms, part)
         VALUES ($1, $2, $3, $4, 1280, 1024, $5, 0)",
    )
    .bind(&file.name)
    .bind(&request.id)
    .bind(&file.content_type)
    .bind(file.bytes as i64)
    .bind(file.expires_ms as i64)
    .execute(&mut *transaction)
    .await?;
    let DeliveryBody::Inline(body) = &webhook.body else { return Ok(true) };
    sqlx::query(
        "INSERT INTO hand_deliveries (id, request_id, access_key, url, receiver, endpoint, sign, headers, body, due_ms, state)
         VALUES ($1, $2, $3, $4, $5, $6, TRUE, $7, $8, $9, 'pending')",
    )
    .bind(&webhook.id)
    .bind(&request.id)
    .bind(&request.access_key)
    .bind(&webhook.url)
    .bind(webhook.receiver())
    .bind(webhook.endpoint())
    .bind(serde_json::to_string(&webhook.headers).expect("JSON"))
    .bind(body)
    .bind(now_ms)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

async fn claim_deliveries(pool: &PgPool, now_ms: u64) -> sqlx::Result<Vec<(String, u32)>> {
    let rows = sqlx::query(
        "UPDATE hand_deliveries SET state = 'sending', attempts = attempts + 1, lease_owner = 'hand', lease_until_ms = $2
         WHERE id IN (SELECT id FROM hand_deliveries WHERE state = 'pending' AND due_ms <= $1
                      ORDER BY due_ms LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING id, url, headers, body, attempts",
    )
    .bind(now_ms as i64)
    .bind((now_ms + LEASE_MS) as i64)
    .bind(i64::from(BATCH))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get::<i64, _>("attempts")? as u32))).collect()
}

async fn end_delivery(pool: &PgPool, id: &str, attempt: DeliveryAttempt) -> sqlx::Result<()> {
    sqlx::query(
        "WITH kept AS (
             INSERT INTO hand_delivery_attempts (delivery_id, number, at_ms, took_ms, status, answer, headers)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
         )
         UPDATE hand_deliveries SET state = 'delivered', finished_ms = $3, lease_owner = NULL, lease_until_ms = NULL
         WHERE id = $1 AND attempts = $2",
    )
    .bind(id)
    .bind(i64::from(attempt.number))
    .bind(attempt.at_ms as i64)
    .bind(attempt.took_ms as i64)
    .bind(attempt.status.map(i64::from))
    .bind(&attempt.answer)
    .bind(serde_json::to_string(&attempt.headers).expect("JSON"))
    .execute(pool)
    .await
    .map(|_| ())
}

/// Does so many jobs, from the accept to the webhook's arrival: workers each of whom accepts, claims and ends, and one
/// sender beside them. Gives how long it took.
pub(super) async fn run(contender: &Arc<Contender>, jobs: usize, workers: usize) -> Duration {
    let started = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let loops = (0..workers).map(|worker| {
        let (contender, next, owner) = (contender.clone(), next.clone(), format!("worker {worker}"));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    break;
                }
                contender.accept(number).await;
                // Somebody has accepted one for everybody who claims.
                while !contender.render(&owner).await {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    let sender = async {
        let mut delivered = 0;
        while delivered < jobs {
            let some = contender.deliver(workers).await;
            delivered += some;
            if some == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    let (ends, ()) = futures::join!(futures::future::join_all(loops), sender);
    for end in ends {
        end.expect("a worker");
    }
    started.elapsed()
}
