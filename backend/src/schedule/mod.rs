//! Fires the tasks whose time has come: each becomes a request in the queue, like any that is asked for from outside.
//!
//! A run is decided on here and happens in one transaction of the queue, which accepts the request and moves the task on
//! to its next time. That is counted from now: however many times were missed, one run makes up for all of them.

mod calendar;

use std::sync::Arc;
use std::time::Duration;

use snaphook_shared::request::Policies;
use snaphook_shared::target::NativeUrlParser;
use snaphook_shared::task;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::calendar::Calendar;
use crate::clock::Clock;
use crate::disk::LastLook;
use crate::domain::job::{NewRequest, new_request_id};
use crate::domain::ports::QueueError;
use crate::domain::task::{Fired, Run, Task, Tasks};
use crate::trace::{Span, TraceContext};

/// Cron's unit is the minute; a second late is in time.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Fired at the same time, and committed together.
const BATCH: u32 = 100;

/// What scheduling works on.
pub struct Scheduler {
    pub tasks: Arc<dyn Tasks>,
    pub clock: Clock,
    /// Where pages and webhooks may lead today.
    pub policies: Policies,
    /// To ring when a request was accepted.
    pub requests: Arc<Notify>,
    pub disk: LastLook,
}

impl Scheduler {
    /// Looks for due tasks until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            // A task that waits for room on the disk is only late.
            if !self.disk.is_short()
                && let Err(error) = self.fire_due().await
            {
                tracing::error!(%error, "due tasks could not be fired");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(SCAN_INTERVAL) => {}
            }
        }
    }

    /// Fires all that is due, and gives the number of requests made.
    async fn fire_due(&self) -> Result<u64, QueueError> {
        let mut accepted = 0;
        loop {
            let due = self.tasks.due_tasks(self.clock.now_ms(), BATCH).await?;
            let fired = futures::future::try_join_all(due.iter().map(|task| self.fire(task))).await?;
            let made = fired.iter().filter(|fired| **fired == Fired::Accepted).count() as u64;
            if made > 0 {
                self.requests.notify_one();
            }
            accepted += made;
            // What has to wait would only be found again.
            if fired.len() < BATCH as usize || fired.contains(&Fired::Later) {
                return Ok(accepted);
            }
        }
    }

    async fn fire(&self, task: &Task) -> Result<Fired, QueueError> {
        let Some(due_ms) = task.due_ms else { return Ok(Fired::Superseded) };
        let now_ms = self.clock.now_ms();
        let plan = &task.plan;
        let span = Span::start("task", None);
        let checked = task::request(plan.endpoint, &plan.query, &task.access_key, &NativeUrlParser, &self.policies);
        let request = checked.map(|checked| NewRequest {
            id: new_request_id(now_ms),
            fingerprint: checked.fingerprint(),
            access_key: checked.access_key,
            endpoint: checked.endpoint,
            options: checked.options,
            idempotency_key: None,
            urgency: checked.urgency,
            created_ms: now_ms,
            traceparent: span.context().map(TraceContext::traceparent),
        });
        let next_ms = Calendar { now_ms }.next(&plan.crontab, &plan.time_zone);
        let run = Run { task_id: task.id, due_ms, revision: task.revision, now_ms, next_ms, request };
        let fired = self.tasks.fire(run).await?;
        // Somebody else was faster, or it is looked at again in a second.
        if matches!(fired, Fired::Superseded | Fired::Later) {
            span.take_back();
        }
        tracing::info!(task = task.id, ?fired, late_ms = now_ms.saturating_sub(due_ms), "a task's time has come");
        Ok(fired)
    }
}

#[cfg(test)]
mod tests;
