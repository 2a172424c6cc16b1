//! What every [`super::Queue`] must do, whatever it is built on. Each kind runs all of it.

mod admin;
mod deliveries;
mod endpoints;
mod limits;
mod operator;
mod requests;
mod samples;
mod tasks;
