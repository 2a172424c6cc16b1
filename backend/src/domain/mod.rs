//! What snaphook does, without saying by which means: the states of a request, how a render becomes a file and a notice,
//! what is tried again. Imports no adapter (no warp, chromiumoxide, object_store, rusqlite, sqlx, reqwest).

pub mod admin;
pub mod artifact;
pub mod capacity;
pub mod delivery;
pub mod failure;
pub mod job;
pub mod limits;
pub mod notice;
pub mod operator;
pub mod pipeline;
pub mod ports;
pub mod refused;
pub mod retry;
pub mod task;
pub mod trial;
pub mod upload;
