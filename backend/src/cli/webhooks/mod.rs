//! `snaphook webhooks`: what was sent and what came of it, of all keys. Works beside a running service, which takes up what is
//! replayed within a second.

mod listen;
mod signatures;
mod verify;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::{CliError, say, say_json};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::domain::delivery::{DeliveryState, DeliveryView};
use crate::domain::ports::{DeliveryFilter, JobQueue, ReplayFilter};
use crate::http::deliveries::{endpoint_json, to_json};
use crate::run;

#[derive(Subcommand)]
pub(super) enum WebhooksCommand {
    #[command(flatten)]
    Kept(KeptCommand),
    /// Receive webhooks on this machine, and show what comes and whether its signatures hold.
    #[command(after_help = listen::HELP)]
    Listen(listen::ListenCommand),
    /// Check the signatures of a webhook that was kept.
    #[command(after_help = verify::HELP)]
    Verify(verify::VerifyCommand),
}

/// What is done with the webhooks in the database.
#[derive(Subcommand)]
pub(super) enum KeptCommand {
    /// List webhooks, newest first.
    #[command(after_help = "Example: snaphook webhooks list --dead --since 2d")]
    List {
        #[command(flatten)]
        which: Which,
        /// Only those in this state.
        #[arg(long, conflicts_with = "dead", value_parser = PossibleValuesParser::new(DeliveryState::ALL.map(DeliveryState::name)))]
        state: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only those older than this one.
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Show a webhook with every attempt.
    #[command(after_help = "Example: snaphook webhooks show msg_0123… --json")]
    Show {
        id: String,
        #[arg(long)]
        json: bool,
    },
    /// Send a webhook again, or all dead ones that fit.
    #[command(after_help = "Examples: snaphook webhooks replay msg_0123…\n          \
                            snaphook webhooks replay --dead --url https://example.com/ --since 2d")]
    Replay {
        #[arg(required_unless_present = "dead", conflicts_with_all = ["dead", "key", "url", "since"])]
        id: Option<String>,
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        json: bool,
    },
    /// List the addresses whose last attempt failed, and those that are disabled.
    #[command(after_help = "Example: snaphook webhooks endpoints --key AK")]
    Endpoints {
        /// Only those of this access key.
        #[arg(long, allow_hyphen_values = true)]
        key: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Send to a disabled address again, from its next webhook on. `replay --dead --url …` sends what it has missed.
    #[command(after_help = "Example: snaphook webhooks enable https://your.app/hook --key AK")]
    Enable {
        /// The address, as `endpoints` has it.
        url: String,
        /// Whose it is.
        #[arg(long, allow_hyphen_values = true)]
        key: String,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(super) struct Which {
    /// Only those that were given up.
    #[arg(long)]
    dead: bool,
    /// Only those of this access key.
    #[arg(long, allow_hyphen_values = true)]
    key: Option<String>,
    /// Only those to addresses that begin so.
    #[arg(long, value_name = "PREFIX")]
    url: Option<String>,
    /// Only those of requests made since: a time, or how long ago (90m, 2d).
    #[arg(long, value_parser = super::since, value_name = "TIME")]
    since: Option<u64>,
}

pub(super) async fn execute(config: Config, command: WebhooksCommand) -> Result<(), CliError> {
    match command {
        WebhooksCommand::Listen(command) => listen::execute(config, command).await,
        WebhooksCommand::Verify(command) => verify::execute(command),
        WebhooksCommand::Kept(command) => look_after(&config, command).await,
    }
}

async fn look_after(config: &Config, command: KeptCommand) -> Result<(), CliError> {
    let queue = run::open_queue(config).await?;
    match command {
        KeptCommand::List { which, state, limit, before, json } => {
            let state = match which.dead {
                true => Some(DeliveryState::Dead),
                false => state.as_deref().and_then(DeliveryState::from_name),
            };
            let (access_key, url, since_ms) = (which.key, which.url, which.since);
            let filter = DeliveryFilter { access_key, state, id: None, url, since_ms, before, limit };
            let views = queue.deliveries(filter).await?;
            if json {
                return say_json(&views.iter().map(to_json).collect());
            }
            for view in &views {
                say(&line(view))?;
            }
            Ok(())
        }
        KeptCommand::Show { id, json } => {
            let view = find(&*queue, &id).await?;
            if json {
                return say_json(&to_json(&view));
            }
            say(&line(&view))?;
            for attempt in &view.log {
                let status = attempt.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
                let what = attempt.error.as_deref().unwrap_or(&attempt.answer);
                let what = what.lines().next().unwrap_or_default();
                say(&format!("  {}  {status:<9}  {:>6} ms  {what}", rfc3339(attempt.at_ms), attempt.took_ms))?;
            }
            Ok(())
        }
        KeptCommand::Replay { id, which, json } => {
            if let Some(id) = &id {
                find(&*queue, id).await?;
            }
            let single = id.clone();
            let filter = ReplayFilter { access_key: which.key, id, url: which.url, since_ms: which.since };
            let replayed = queue.replay(filter, Clock::default().now_ms()).await?;
            if let (0, Some(id)) = (replayed, single) {
                return Err(CliError::Refused(format!("{id} has not ended yet, so it is still to be sent")));
            }
            match json {
                true => say_json(&json!({ "replayed": replayed })),
                false => say(&format!("{replayed} to be sent again")),
            }
        }
        KeptCommand::Endpoints { key, json } => {
            let views = queue.endpoints(key.as_deref()).await?;
            if json {
                let with_key = |view| {
                    let mut json: Json = endpoint_json(view);
                    json["access_key"] = json!(view.access_key);
                    json
                };
                return say_json(&views.iter().map(with_key).collect());
            }
            for view in &views {
                let state = match view.disabled_ms {
                    Some(at_ms) => format!("disabled {}", rfc3339(at_ms)),
                    None => format!("failing since {}", rfc3339(view.failing_since_ms)),
                };
                say(&format!(
                    "{:<24} {state}  {} failures  {}  {}",
                    view.access_key, view.failures, view.url, view.last_error
                ))?;
            }
            Ok(())
        }
        KeptCommand::Enable { url, key, json } => {
            if !queue.enable_endpoint(&key, &url).await? {
                return Err(CliError::Refused(format!("{key} has no disabled endpoint {url}")));
            }
            match json {
                true => say_json(&json!({ "url": url, "access_key": key, "state": "enabled" })),
                false => say(&format!("{url} is enabled")),
            }
        }
    }
}

async fn find(queue: &dyn JobQueue, id: &str) -> Result<DeliveryView, CliError> {
    let filter = DeliveryFilter { id: Some(id.to_owned()), limit: 1, ..DeliveryFilter::default() };
    let found = queue.deliveries(filter).await?.pop();
    found.ok_or_else(|| CliError::Refused(format!("there is no webhook {id}")))
}

fn line(view: &DeliveryView) -> String {
    let more = match (view.next_attempt_ms, &view.end_reason) {
        (Some(at_ms), _) => format!("next {}", rfc3339(at_ms)),
        (None, Some(reason)) => reason.clone(),
        (None, None) => String::new(),
    };
    format!("{}  {:<9}  {:>2} attempts  {}  {more}", view.id, view.state.name(), view.attempts, view.url)
}
