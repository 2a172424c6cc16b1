//! The command line: one file for each family of commands. Results go to standard output, for people or, with `--json`, for
//! programs; what went wrong goes to standard error, with `--json` for programs too.

mod admin;
mod batch;
mod database;
mod doctor;
mod health;
mod keys;
mod manual;
mod mcp;
mod requests;
mod serve;
mod settings;
mod shot;
mod take;
mod webhooks;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use serde_json::{Value as Json, json};

use crate::config::{Config, ConfigError};
use crate::domain::operator::NoRandomness;
use crate::domain::ports::QueueError;
use crate::reference;
use crate::run::{self, StartError};
use crate::telemetry;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong settings, 130 interrupted.";

/// A screenshot API that you run yourself.
#[derive(Parser)]
#[command(name = "snaphook", version, after_help = EXIT_CODES)]
struct Cli {
    /// Settings file (default: ./snaphook.toml if it is there).
    #[arg(long, global = true, env = "SNAPHOOK_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until it gets SIGTERM or SIGINT.
    #[command(after_help = serve::HELP)]
    Serve(serve::ServeCommand),
    /// Take one picture, without a service.
    #[command(after_help = take::HELP)]
    Take(take::TakeCommand),
    /// Take many pictures, without a service. Run it again to go on where it was ended.
    #[command(after_help = batch::HELP)]
    Batch(batch::BatchCommand),
    /// Give agents tools that take pictures, by the Model Context Protocol over standard input and output.
    #[command(after_help = mcp::HELP)]
    Mcp(mcp::McpCommand),
    /// Look for what would keep the service from working, and say how to mend it.
    #[command(after_help = doctor::HELP)]
    Doctor {
        #[arg(long)]
        json: bool,
    },
    /// Ask the running service whether it is alive.
    #[command(after_help = health::HELP)]
    Health(health::HealthCommand),
    /// Check the settings, or show them.
    #[command(subcommand)]
    Config(settings::ConfigCommand),
    /// Print the OpenAPI description, as the service has it at /openapi.json.
    #[command(after_help = "Example: snaphook openapi > openapi.json")]
    Openapi {
        /// It is JSON in any case.
        #[arg(long)]
        json: bool,
    },
    /// Print what completes commands in a shell.
    #[command(after_help = "Example: snaphook completions bash > /etc/bash_completion.d/snaphook")]
    Completions { shell: clap_complete::Shell },
    /// Print the help of all commands, as docs/cli.md has it.
    #[command(after_help = "Example: snaphook manual | less")]
    Manual,
    /// Print what of the vendors' APIs is supported, as docs/compat.md has it.
    #[command(after_help = "Example: snaphook compat | grep refused")]
    Compat {
        #[arg(long)]
        json: bool,
    },
    /// Say who may call.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Move everything from the embedded database to PostgreSQL.
    #[command(after_help = database::MIGRATE_HELP)]
    Migrate(database::MigrateCommand),
    /// Copy the embedded database into a file, while the service goes on.
    #[command(after_help = database::BACKUP_HELP)]
    Backup {
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Put a copy in the place of the embedded database.
    #[command(after_help = database::RESTORE_HELP)]
    Restore {
        file: PathBuf,
        #[arg(long)]
        json: bool,
    },
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
    /// Wrong usage.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl CliError {
    /// What programs know it by.
    fn code(&self) -> &'static str {
        match self {
            CliError::Config(_) => "settings_not_valid",
            CliError::Start(_) => "cannot_start",
            CliError::Queue(_) => "database_error",
            CliError::Refused(_) => WRONG_USAGE,
            CliError::Interrupted => "interrupted",
            CliError::Random(_) | CliError::Failed(_) | CliError::Io(_) => "failed",
        }
    }
}

const WRONG_USAGE: &str = "wrong_usage";

/// Tells standard error what went wrong: people in a line, programs as `{"error":{"code","message"}}`.
fn complain(code: &str, message: &str, for_programs: bool) {
    let line = match for_programs {
        true => json!({ "error": { "code": code, "message": message } }).to_string(),
        false => format!("snaphook: {message}"),
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether the caller is a program. Asked of the words themselves, for it counts for those that are wrong as well.
fn is_for_programs() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// Runs the command line and gives its exit code.
pub fn main() -> ExitCode {
    let for_programs = is_for_programs();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if for_programs && error.use_stderr() => {
            let message = error.to_string();
            complain(WRONG_USAGE, message.trim_start_matches("error: ").trim(), true);
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    // A second provider could come in by a dependency, and then the first use would panic; this decides it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result =
        tokio::runtime::Runtime::new().map_err(CliError::Io).and_then(|runtime| runtime.block_on(execute(cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.code(), &error.to_string(), for_programs);
            match error {
                CliError::Config(_) => ExitCode::from(78),
                CliError::Refused(_) => ExitCode::from(2),
                CliError::Interrupted => ExitCode::from(130),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn execute(cli: Cli) -> Result<(), CliError> {
    // What needs no settings does not mind wrong ones.
    match &cli.command {
        Command::Compat { json: true } => return say_json(&reference::compat_json()),
        Command::Compat { json: false } => return print(&reference::compat()),
        Command::Manual => return print(&manual::of(Cli::command())),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "snaphook", &mut script);
            return Ok(std::io::stdout().write_all(&script)?);
        }
        Command::Config(command) => return settings::execute(cli.config.as_deref(), command),
        _ => {}
    }
    let roles = match &cli.command {
        Command::Serve(command) => command.roles(),
        _ => None,
    };
    let said = |name: &str| roles.clone().filter(|_| name == "SNAPHOOK_ROLES").or_else(|| std::env::var(name).ok());
    let config = Config::load(cli.config.as_deref(), &said)?;
    match cli.command {
        Command::Serve(_) => telemetry::start(&config.log),
        // Their own words are the news; of the parts that they use, only troubles are.
        _ => telemetry::start_quiet(&config.log),
    }
    match cli.command {
        Command::Serve(_) => serve::execute(config).await,
        Command::Take(command) => take::execute(config, command).await,
        Command::Batch(command) => batch::execute(config, command).await,
        Command::Mcp(command) => mcp::execute(config, command).await,
        Command::Keys(command) => keys::execute(config, command).await,
        Command::Admin(command) => admin::execute(config, command).await,
        Command::Requests(command) => requests::execute(config, command).await,
        Command::Webhooks(command) => webhooks::execute(config, command).await,
        Command::Migrate(command) => database::migrate(config, command).await,
        Command::Backup { file, json } => database::copy(&config, &file, json),
        Command::Restore { file, json } => database::bring_back(&config, &file, json),
        Command::Doctor { json } => doctor::execute(&config, json).await,
        Command::Health(command) => health::execute(&config, command).await,
        Command::Openapi { .. } => say_json(&reference::openapi(&run::links(&config, config.http.listen).public_url)),
        Command::Compat { .. } | Command::Manual | Command::Completions { .. } | Command::Config(_) => Ok(()),
    }
}

fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    Ok(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?)
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
