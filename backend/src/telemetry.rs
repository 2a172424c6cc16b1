//! Logs, to standard error. Secrets, keys and whole URLs are never written: the types that hold them do not print them.

use std::io::{self, IsTerminal, Write};

use tracing::level_filters::LevelFilter;
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
    let filter = EnvFilter::try_new(directives(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(OwnLine::default)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    let _ = match config.format.as_str() {
        "json" => builder.json().try_init(),
        _ => builder.try_init(),
    };
}

/// A level by its name is that of our own code. Libraries print addresses and headers when they are made to talk, so that takes
/// a filter which names them.
fn directives(level: &str) -> String {
    match level.trim().parse::<LevelFilter>() {
        Ok(level) => format!("{},snaphook={level}", level.min(LevelFilter::WARN)),
        Err(_) => level.to_owned(),
    }
}

/// Standard error; on a terminal each event begins a line of its own, also where a progress bar is being drawn.
struct OwnLine {
    is_terminal: bool,
}

impl Default for OwnLine {
    fn default() -> OwnLine {
        OwnLine { is_terminal: io::stderr().is_terminal() }
    }
}

impl Write for OwnLine {
    /// Gets an event at a time, line end included.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        const CLEAR_LINE: &[u8] = b"\r\x1b[2K";
        let mut stderr = io::stderr().lock();
        if self.is_terminal {
            stderr.write_all(CLEAR_LINE)?;
        }
        stderr.write_all(event)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::directives;

    #[test]
    fn a_level_makes_no_library_talk() {
        assert_eq!(directives("debug"), "warn,snaphook=debug");
        assert_eq!(directives("error"), "error,snaphook=error");
        assert_eq!(directives("info,hyper=trace"), "info,hyper=trace");
    }
}
