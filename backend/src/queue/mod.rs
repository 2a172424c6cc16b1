//! Durable state: the requests, their webhooks, the access keys. Implements [`crate::domain::ports::JobQueue`].

#[cfg(test)]
mod conformance;
pub mod secrets;
pub mod sqlite;
#[cfg(test)]
mod task_conformance;
