//! `snaphook config`: which settings hold, and whether they can.

use std::path::Path;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::{CliError, say, say_json};
use crate::config::{Config, ConfigError, Effective, Setting, all_settings, effective, reference, unknown_variables};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Check all settings, as the service would before it starts.
    #[command(after_help = "Example: snaphook config check --config /etc/snaphook.toml\n\
                            Exit codes: 0 all is well, 78 something is not.")]
    Check {
        #[arg(long)]
        json: bool,
    },
    /// Show every setting as it holds and where it comes from. Secrets are not shown.
    #[command(after_help = "Example: SNAPHOOK_HTTP_LISTEN=127.0.0.1:9 snaphook config print")]
    Print {
        #[arg(long)]
        json: bool,
    },
    /// Print all settings with their defaults and reasons, as docs/configuration.md has them.
    #[command(after_help = "Example: snaphook config reference | less")]
    Reference {
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn execute(file: Option<&Path>, command: &ConfigCommand) -> Result<(), CliError> {
    let environment = |name: &str| std::env::var(name).ok();
    match command {
        ConfigCommand::Check { json } => {
            Config::load(file, &environment)?;
            let unknown = unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
            if !unknown.is_empty() {
                let message = |name: &String| format!("{name} is no setting, so it changes nothing");
                return Err(ConfigError::Values(unknown.iter().map(message).collect()).into());
            }
            match json {
                true => say_json(&json!({ "valid": true })),
                false => say("the settings are valid"),
            }
        }
        ConfigCommand::Print { json } => {
            let settings = effective(file, &environment)?;
            if *json {
                let one = |one: &Effective| {
                    // Its own notation is close to JSON, but not JSON.
                    let value =
                        one.value.parse::<toml::Value>().ok().and_then(|value| serde_json::to_value(value).ok());
                    json!({ "name": one.name, "value": value.unwrap_or_else(|| json!(one.value)), "origin": one.origin })
                };
                return say_json(&settings.iter().map(one).collect::<Json>());
            }
            for Effective { name, value, origin } in &settings {
                say(&format!("{name} = {value}  # {origin}"))?;
            }
            Ok(())
        }
        ConfigCommand::Reference { json: false } => say(reference().trim_end()),
        ConfigCommand::Reference { json: true } => {
            let one = |one: Setting| {
                let default =
                    one.default.parse::<toml::Value>().ok().and_then(|value| serde_json::to_value(value).ok());
                let default = default.unwrap_or_else(|| json!(one.default));
                json!({ "name": one.name(), "default": default, "variable": one.variable(), "meaning": one.meaning })
            };
            say_json(&all_settings().into_iter().map(one).collect::<Json>())
        }
    }
}
