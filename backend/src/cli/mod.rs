//! The command line: one file for each family of commands. Results go to standard output, for people or, with `--json`, for
//! programs; what went wrong goes to standard error.

mod admin;
mod keys;
mod requests;
mod serve;
mod webhooks;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::Value as Json;

use crate::config::{Config, ConfigError};
use crate::domain::operator::NoRandomness;
use crate::domain::ports::QueueError;
use crate::reference;
use crate::run::StartError;
use crate::telemetry;

/// A screenshot API that you run yourself.
#[derive(Parser)]
#[command(name = "snaphook", version, after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings.")]
struct Cli {
    /// Settings file (default: ./snaphook.toml if it is there).
    #[arg(long, global = true, env = "SNAPHOOK_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until it gets SIGTERM or SIGINT.
    Serve,
    /// Print what of the vendors' APIs is supported, as docs/compat.md has it.
    Compat,
    /// Say who may call.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Say who may see the dashboard.
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// See what became of requests, and end them.
    #[command(subcommand)]
    Requests(requests::RequestsCommand),
    /// See what became of webhooks, and send them again.
    #[command(subcommand)]
    Webhooks(webhooks::WebhooksCommand),
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs the command line and gives its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // A second provider could come in by a dependency, and then the first use would panic; this decides it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result =
        tokio::runtime::Runtime::new().map_err(CliError::Io).and_then(|runtime| runtime.block_on(execute(cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "snaphook: {error}");
            match error {
                CliError::Config(_) => ExitCode::from(78),
                CliError::Refused(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn execute(cli: Cli) -> Result<(), CliError> {
    let config = Config::load(cli.config.as_deref(), &|name| std::env::var(name).ok())?;
    telemetry::start(&config.log);
    match cli.command {
        Command::Serve => serve::execute(config).await,
        Command::Compat => Ok(std::io::stdout().write_all(reference::compat().as_bytes())?),
        Command::Keys(command) => keys::execute(config, command).await,
        Command::Admin(command) => admin::execute(config, command).await,
        Command::Requests(command) => requests::execute(config, command).await,
        Command::Webhooks(command) => webhooks::execute(config, command).await,
    }
}

fn say(line: &str) -> Result<(), CliError> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// For programs: one document, in lines that a person can follow too.
fn say_json(json: &Json) -> Result<(), CliError> {
    say(&format!("{json:#}"))
}

/// A moment, or how long ago it was: `2026-11-21T08:00:00Z`, `90m`, `2d`. Unix milliseconds.
fn since(text: &str) -> Result<u64, String> {
    let ago = |span: jiff::Span| {
        let ago = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
        jiff::Timestamp::now().checked_sub(ago).ok()
    };
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| ago(text.parse().ok()?));
    moment
        .and_then(|moment| u64::try_from(moment.as_millisecond()).ok())
        .ok_or_else(|| "a time as 2026-11-21T08:00:00Z, or how long ago as 90m or 2d".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(1000));
        let age = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap() - since("2d").unwrap();
        assert!((172_799_000..172_801_000).contains(&age), "{age}");
        for odd in ["", "yesterday", "2", "1960-01-01T00:00:00Z"] {
            assert!(since(odd).is_err(), "{odd}");
        }
    }
}
