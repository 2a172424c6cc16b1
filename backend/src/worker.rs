//! The loop that works through the queue: claim, keep the lease alive, run the pipeline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::clock::Clock;
use crate::domain::job::ClaimedRequest;
use crate::domain::pipeline::Pipeline;
use crate::trace::{Span, TraceContext};

/// The scan is the truth; the wake-up only saves the wait.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// After a failure of this installation: what is broken for one request is broken for the next.
const BREATH: Duration = Duration::from_secs(2);
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
    /// Held by the one of all idle workers that looks from time to time: a hundred see no more than one does.
    pub lookout: Arc<Mutex<()>>,
    /// To ring when a webhook may be due.
    pub deliveries: Arc<Notify>,
}

impl Worker {
    /// Works until it is told to stop, and then to the end of what it has, unless it is told to abandon that.
    pub async fn run(self, stop: CancellationToken, abandon: CancellationToken) {
        while !stop.is_cancelled() {
            let now_ms = self.clock.now_ms();
            let mut pause = SCAN_INTERVAL;
            match self.pipeline.queue.claim(&self.name, now_ms, self.lease_end(now_ms)).await {
                Ok(Some(claimed)) => {
                    note_wait(&claimed);
                    // There may be more; a colleague who sleeps should look.
                    self.requests.notify_one();
                    // Of the level that is never filtered out: what is logged inside says whose it is.
                    let span = tracing::error_span!("render", request = claimed.request.id);
                    let went_well = tokio::select! {
                        went_well = self.work(claimed).instrument(span) => went_well,
                        () = abandon.cancelled() => return,
                    };
                    self.deliveries.notify_one();
                    if went_well {
                        continue;
                    }
                    pause = BREATH;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "no request could be claimed"),
            }
            let rest = async {
                let _lookout = if pause == SCAN_INTERVAL { Some(self.lookout.lock().await) } else { None };
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.requests.notified(), if pause == SCAN_INTERVAL => {}
                () = rest => {}
            }
        }
    }

    /// False if this installation is not able to work at the moment.
    async fn work(&self, claimed: ClaimedRequest) -> bool {
        let id = claimed.request.id.clone();
        let result = if claimed.attempt.saturating_sub(claimed.postponed) > LEASES_MAX {
            self.pipeline.give_up(&claimed.request, &self.name).await.map(|()| true)
        } else {
            tokio::select! {
                result = self.pipeline.run(claimed, &self.name) => result,
                () = self.keep_lease(&id) => {
                    tracing::warn!("the lease was lost, the render is abandoned");
                    return true;
                }
            }
        };
        result.unwrap_or_else(|error| {
            // The lease runs out and the request comes round again.
            tracing::error!(%error, "the outcome could not be kept");
            false
        })
    }

    /// Prolongs the lease in time; returns when it is lost.
    async fn keep_lease(&self, id: &str) {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            match self.pipeline.queue.extend(id, &self.name, self.lease_end(self.clock.now_ms())).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(%error, "the lease could not be prolonged"),
            }
        }
    }

    fn lease_end(&self, now_ms: u64) -> u64 {
        now_ms + self.lease.as_millis() as u64
    }
}

/// How long a request was in the queue before its first attempt. Before a later one it waits by its own schedule.
fn note_wait(claimed: &ClaimedRequest) {
    let request = &claimed.request;
    if let (1, Some(place)) = (claimed.attempt, request.traceparent.as_deref().and_then(TraceContext::read)) {
        drop(Span::since("queue", Some(&place), request.created_ms));
    }
}
