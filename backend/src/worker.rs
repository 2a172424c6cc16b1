//! The loop that works through the queue: claim, keep the lease alive, run the pipeline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::job::ClaimedRequest;
use crate::domain::pipeline::Pipeline;

/// The scan is the truth; the wake-up only saves the wait.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// A request whose lease ran out so often has taken its worker down each time.
const LEASES_MAX: u32 = 50;

/// One worker: renders one request after the other.
pub struct Worker {
    /// Unique among all that ever lived, so that a late one cannot finish what was given to another.
    pub name: String,
    pub pipeline: Arc<Pipeline>,
    pub clock: Clock,
    pub lease: Duration,
    /// Rung when a request was accepted.
    pub requests: Arc<Notify>,
    /// To ring when a webhook may be due.
    pub deliveries: Arc<Notify>,
}

impl Worker {
    /// Works until it is told to stop, and then to the end of what it has.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now_ms = self.clock.now_ms();
            match self.pipeline.queue.claim(&self.name, now_ms, self.lease_end(now_ms)).await {
                Ok(Some(claimed)) => {
                    // There may be more; a colleague who sleeps should look.
                    self.requests.notify_one();
                    self.work(claimed).await;
                    self.deliveries.notify_one();
                    continue;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "no request could be claimed"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.requests.notified() => {}
                () = tokio::time::sleep(SCAN_INTERVAL) => {}
            }
        }
    }

    async fn work(&self, claimed: ClaimedRequest) {
        let id = claimed.request.id.clone();
        let result = if claimed.attempt > LEASES_MAX {
            self.pipeline.give_up(&claimed.request, &self.name).await
        } else {
            tokio::select! {
                result = self.pipeline.run(claimed, &self.name) => result,
                () = self.keep_lease(&id) => {
                    tracing::warn!(request = id, "the lease was lost, the render is abandoned");
                    return;
                }
            }
        };
        if let Err(error) = result {
            // The lease runs out and the request comes round again.
            tracing::error!(request = id, %error, "the outcome could not be kept");
        }
    }

    /// Prolongs the lease in time; returns when it is lost.
    async fn keep_lease(&self, id: &str) {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            match self.pipeline.queue.extend(id, &self.name, self.lease_end(self.clock.now_ms())).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(request = id, %error, "the lease could not be prolonged"),
            }
        }
    }

    fn lease_end(&self, now_ms: u64) -> u64 {
        now_ms + self.lease.as_millis() as u64
    }
}
