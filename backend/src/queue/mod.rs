//! Durable state: the requests, their webhooks, the tasks, the access keys, the operator's sessions. Implements the ports of
//! the domain.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::domain::admin::AdminStore;
use crate::domain::operator::Operator;
use crate::domain::ports::JobQueue;
use crate::domain::task::Tasks;

#[cfg(test)]
mod conformance;
mod key_row;
mod migration;
pub mod options;
pub mod postgres;
pub mod secrets;
pub mod sqlite;
#[cfg(test)]
mod testing;
pub mod transfer;

pub use migration::Versions;

/// What wakes the workers and the senders of this process. The scan is the truth; a bell only saves the wait.
#[derive(Clone, Default)]
pub struct Bells {
    /// Rung when a request was accepted.
    pub requests: Arc<Notify>,
    /// Rung when a webhook may be due.
    pub deliveries: Arc<Notify>,
}

/// All of it, by whatever it is kept.
#[async_trait]
pub trait Queue: JobQueue + Operator + AdminStore + Tasks {
    /// Rings the bells of this process for what others have put into the queue, and theirs for what this one puts there.
    /// Returns when there is nobody else; to be dropped when the service stops.
    async fn relay(&self, bells: Bells);
}
