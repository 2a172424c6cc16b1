//! Logs, to standard error. Secrets, keys and whole URLs are never written: the types that hold them do not print them.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

/// Starts logging; a second call changes nothing.
pub fn start(config: &LogConfig) {
    let filter = EnvFilter::try_new(directives(&config.level)).unwrap_or_else(|_| EnvFilter::new("info"));
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

/// A level by its name is that of our own code. Libraries print addresses and headers when they are made to talk, so that takes
/// a filter which names them.
fn directives(level: &str) -> String {
    match level.trim().parse::<LevelFilter>() {
        Ok(level) => format!("{},snaphook={level}", level.min(LevelFilter::WARN)),
        Err(_) => level.to_owned(),
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
