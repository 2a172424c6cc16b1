//! What every [`super::Queue`] must do, whatever it is built on. Each kind runs all of it.

mod admin;
mod limits;
mod operator;
mod requests;
mod tasks;
