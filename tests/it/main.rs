//! The end-to-end tests, one module per concern. `tests/README.md` says what they need and how to run one of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod admission;
mod api;
mod attack;
mod behaviour;
mod campaign;
mod commands;
mod crash;
mod dashboard;
mod dashboard_browser;
mod dashboard_pages;
mod demo;
mod doctor;
mod documents;
mod durability;
mod edge;
mod edge_files;
mod effects;
mod errors;
mod files;
mod isolation;
mod keys;
mod one_shot;
mod openapi;
mod operations;
mod outputs;
mod parity;
mod playground;
mod programs;
mod proxy;
mod receivers;
mod render;
mod requests;
mod rotation;
mod round_trips;
mod sdk;
mod secrets;
mod snippets;
mod stop;
mod tasks;
mod tidy;
mod traps;
mod video;
mod walkthrough;
mod webhook_tools;
