//! The webhook sender: takes what is due from the outbox, signs it, posts it, and keeps what came of it.

mod client;

use std::sync::Arc;
use std::time::{Duration, Instant};

use snaphook_shared::signing;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::job::{ClaimedDelivery, DeliveryAttempt, DeliveryBody, NextStep};
use crate::domain::ports::{FileStore, JobQueue};
use crate::domain::retry;
use client::Answer;
pub use client::{WebhookClient, build_client};

/// The scan is the truth; the wake-up only saves the wait.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// A receiver that throttles or is restarting gets at least this pause.
const THROTTLED_PAUSE_S: u64 = 60;

/// What the sender needs.
pub struct Sender {
    pub queue: Arc<dyn JobQueue>,
    pub store: Arc<dyn FileStore>,
    pub client: WebhookClient,
    pub clock: Clock,
    pub schedule_seconds: Vec<u64>,
    pub timeout: Duration,
    pub concurrency: u32,
    /// Attempts under way to one receiver.
    pub per_receiver: u32,
    /// Rung when a delivery was added.
    pub wake: Arc<Notify>,
}

impl Sender {
    /// Sends until it is told to stop, and then until what is under way has ended.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.concurrency as usize));
        let under_way = TaskTracker::new();
        while !stop.is_cancelled() {
            let free = slots.available_permits() as u32;
            let now_ms = self.clock.now_ms();
            // The lease outlives any attempt; it ends early only if this process does.
            let lease_until_ms = now_ms + (self.timeout.as_millis() as u64) * 2;
            let due = match free {
                0 => Vec::new(),
                free => {
                    self.queue.claim_deliveries(now_ms, lease_until_ms, free, self.per_receiver).await.unwrap_or_else(
                        |error| {
                            tracing::error!(%error, "deliveries could not be claimed");
                            Vec::new()
                        },
                    )
                }
            };
            let idle = due.is_empty();
            for delivery in due {
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                let sender = self.clone();
                under_way.spawn(async move {
                    sender.attempt(delivery).await;
                    drop(slot);
                    sender.wake.notify_one();
                });
            }
            if idle {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(SCAN_INTERVAL) => {}
                }
            }
        }
        under_way.close();
        under_way.wait().await;
    }

    async fn attempt(&self, claimed: ClaimedDelivery) {
        let id = claimed.delivery.id.clone();
        let at_ms = self.clock.now_ms();
        let started = Instant::now();
        let answer = self.post(&claimed, at_ms / 1000).await;
        let attempt = DeliveryAttempt {
            at_ms,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: answer.status,
            error: answer.error.clone(),
            answer: answer.body.clone(),
        };
        let next = self.next_step(&answer, claimed.attempt);
        tracing::info!(
            delivery = id,
            attempt = claimed.attempt,
            status = answer.status,
            error = answer.error,
            took_ms = attempt.took_ms,
            ?next,
            "webhook"
        );
        if let Err(error) = self.queue.finish_attempt(&id, attempt, next).await {
            // The lease runs out and the delivery is sent again: at least once, never less.
            tracing::error!(delivery = id, %error, "the outcome of a webhook could not be kept");
        }
    }

    async fn post(&self, claimed: &ClaimedDelivery, now_s: u64) -> Answer {
        let delivery = &claimed.delivery;
        let body = match &delivery.body {
            DeliveryBody::Inline(bytes) => bytes.clone().into(),
            DeliveryBody::File(name) => match self.read_file(name).await {
                Ok(bytes) => bytes,
                Err(error) => return Answer::failed(format!("the file could not be read: {error}")),
            },
        };
        let mut headers = delivery.headers.clone();
        if delivery.sign {
            let record = match self.queue.key(&claimed.access_key).await {
                Ok(Some(record)) => record,
                Ok(None) => return Answer::failed("the access key is gone"),
                Err(error) => return Answer::failed(error.to_string()),
            };
            let signed = signing::webhook_headers(&record.live_secrets(now_s), &delivery.id, now_s, &body);
            headers.extend(signed.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        self.client.post(&delivery.url, headers, body, self.timeout).await
    }

    async fn read_file(&self, name: &str) -> std::io::Result<bytes::Bytes> {
        use futures::TryStreamExt;
        let stream = self.store.get(name, None).await?;
        let collected = stream.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        collected.await.map(bytes::Bytes::from)
    }

    fn next_step(&self, answer: &Answer, attempt: u32) -> NextStep {
        let wish = match answer.status {
            Some(200..=299) => return NextStep::Delivered,
            // The receiver says that it is gone for good.
            Some(410) => return NextStep::Dead,
            Some(429 | 502 | 504) => Some(answer.retry_after.unwrap_or(THROTTLED_PAUSE_S).max(THROTTLED_PAUSE_S)),
            _ => answer.retry_after,
        };
        match retry::webhook_delay(&self.schedule_seconds, attempt, dice(), wish) {
            Some(pause) => NextStep::RetryAt { ms: self.clock.now_ms() + pause.as_millis() as u64 },
            None => NextStep::Dead,
        }
    }
}

/// A number in 0..1, for jitter.
fn dice() -> f64 {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
