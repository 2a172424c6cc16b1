//! Logs, to standard error. Secrets, keys and whole URLs are never written: the types that hold them do not print them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

/// Starts logging; a second call changes nothing.
pub fn start(config: &LogConfig) {
    start_at(&config.level, config);
}

/// As [`start`], for a command that a person waits for: the level of a service is too much to be told, if it is `info`.
pub fn start_quiet(config: &LogConfig) {
    let level = if config.level == "info" { "warn" } else { &config.level };
    start_at(level, config);
}

fn start_at(level: &str, config: &LogConfig) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let _ = match config.format.as_str() {
        "json" => builder.json().try_init(),
        _ => builder.try_init(),
    };
}
