//! The one truth about snaphook's API, used by the edge, the backend, the tests and the verifier package.
//!
//! Everything here is a pure function of its arguments: no I/O, no clock, no randomness, no panic on any input.
//! It compiles to native code and to `wasm32-unknown-unknown`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod code;
pub mod dialect;
pub mod envelope;
pub mod event;
pub mod id;
pub mod json;
pub mod key;
pub mod limits;
pub mod link;
pub mod metadata;
pub mod options;
pub mod priority;
pub mod request;
pub mod route;
pub mod secret;
pub mod signing;
pub mod target;
pub mod task;
pub mod trace;
