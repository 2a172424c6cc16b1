//! Durable state: the requests, their webhooks, the access keys. Implements [`crate::domain::ports::JobQueue`].

pub mod secrets;
pub mod sqlite;
