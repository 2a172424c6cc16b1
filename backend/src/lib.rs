//! The snaphook service: the vendors' screenshot APIs on your own machine.
//!
//! A request goes one way: [`http`] reads it (with `snaphook_shared`, as the edge does) → [`queue`] keeps it → [`worker`]
//! leases it → [`render`] makes the picture → [`store`] keeps the file → [`queue`] ends it, webhook included, in one
//! transaction → [`notify`] posts the webhook. [`domain`] says what happens; the others say how. [`run`] puts them together.

pub mod cli;
pub mod clock;
pub mod config;
pub mod dashboard;
pub mod disk;
pub mod domain;
pub mod egress;
pub mod fault;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod queue;
pub mod reference;
pub mod render;
pub mod run;
pub mod schedule;
pub mod store;
pub mod sweep;
pub mod telemetry;
pub mod trace;
pub mod worker;
