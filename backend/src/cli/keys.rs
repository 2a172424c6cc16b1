//! `snaphook keys`: who may call.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use snaphook_shared::key::{KeyLimits, is_access_key, is_secret_key};
use snaphook_shared::limits::SECRET_KEY_CHARACTERS_MAX;
use snaphook_shared::secret::Secret;
use snaphook_shared::signing::standard_webhook_secret;

use super::{CliError, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::operator::{NewKey, Rotation, new_access_key, new_secret};
use crate::run;

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Make a new pair of access key and secret key.
    #[command(after_help = "Example: snaphook keys create --name laptop --quota 1000")]
    Create(KeyOptions),
    /// Bring a pair that you have, from a vendor or another installation.
    #[command(after_help = "Example: snaphook keys import --access-key AK --secret-key SK")]
    Import {
        #[arg(long, allow_hyphen_values = true)]
        access_key: String,
        #[arg(long, allow_hyphen_values = true, env = "SNAPHOOK_IMPORT_SECRET_KEY", hide_env_values = true)]
        secret_key: String,
        #[command(flatten)]
        options: KeyOptions,
    },
    /// Say how much a key may use, from its next request on.
    #[command(after_help = "Example: snaphook keys limits AK --quota 10000 --concurrency unlimited")]
    Limits {
        #[arg(allow_hyphen_values = true)]
        access_key: String,
        #[command(flatten)]
        limits: LimitOptions,
        #[arg(long)]
        json: bool,
    },
    /// List the keys, without their secrets.
    #[command(after_help = "Example: snaphook keys list")]
    List {
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new secret. The old one stays good for a while, and older ones for no longer than that.
    #[command(after_help = "Example: snaphook keys rotate AK --overlap-hours 48")]
    Rotate {
        #[arg(allow_hyphen_values = true)]
        access_key: String,
        /// Hours that the old secret stays good.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(..=8784))]
        overlap_hours: u64,
        #[arg(long)]
        json: bool,
    },
    /// End a key at once.
    #[command(after_help = "Example: snaphook keys revoke AK")]
    Revoke {
        #[arg(allow_hyphen_values = true)]
        access_key: String,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(super) struct KeyOptions {
    /// What the key is for.
    #[arg(long, default_value = "")]
    name: String,
    /// Accept signed links only (for GET requests).
    #[arg(long)]
    require_signed: bool,
    #[command(flatten)]
    limits: LimitOptions,
    #[arg(long)]
    json: bool,
}

impl KeyOptions {
    fn key(&self, access_key: &str, secret: &Secret) -> NewKey {
        NewKey {
            access_key: access_key.to_owned(),
            secret: secret.clone(),
            name: self.name.clone(),
            require_signed: self.require_signed,
            limits: self.limits.over(KeyLimits::default()),
        }
    }
}

#[derive(Args)]
pub(super) struct LimitOptions {
    /// Successful renders in a calendar month, or `unlimited`.
    #[arg(long)]
    quota: Option<Limit>,
    /// Requests started in a minute, or `unlimited`.
    #[arg(long)]
    requests_per_minute: Option<Limit>,
    /// Renders at the same time, or `unlimited`.
    #[arg(long)]
    concurrency: Option<Limit>,
}

impl LimitOptions {
    /// What was not said stays as it is.
    fn over(&self, limits: KeyLimits) -> KeyLimits {
        let over = |said: Option<Limit>, before| said.map_or(before, |limit| limit.0);
        KeyLimits {
            monthly_quota: over(self.quota, limits.monthly_quota),
            requests_per_minute: over(self.requests_per_minute, limits.requests_per_minute),
            concurrency: over(self.concurrency, limits.concurrency),
        }
    }
}

/// A number, or none.
#[derive(Clone, Copy)]
pub(super) struct Limit(Option<u64>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        match text {
            "unlimited" => Ok(Limit(None)),
            // The database's integers have a sign.
            number => number
                .parse()
                .ok()
                .filter(|number| *number <= i64::MAX.unsigned_abs())
                .map(|number| Limit(Some(number)))
                .ok_or_else(|| "a whole number, or unlimited".to_owned()),
        }
    }
}

pub(super) async fn execute(config: Config, command: KeysCommand) -> Result<(), CliError> {
    let queue = run::open_queue(&config).await?;
    let now_ms = Clock::default().now_ms();
    let unknown = |access_key: &str| CliError::Refused(format!("there is no live key {access_key}"));
    match command {
        KeysCommand::Create(options) => {
            let (access_key, secret) = (new_access_key()?, new_secret()?);
            queue.add_key(options.key(&access_key, &secret), now_ms).await?;
            show_pair(&access_key, &secret, options.json)
        }
        KeysCommand::Import { access_key, secret_key, options } => {
            if !is_access_key(&access_key) {
                return Err(CliError::Refused("an access key has 1 to 64 letters, digits, _ and -".to_owned()));
            }
            if !is_secret_key(&secret_key) {
                let message = format!("a secret key has 1 to {SECRET_KEY_CHARACTERS_MAX} characters");
                return Err(CliError::Refused(message));
            }
            let secret = Secret::new(secret_key);
            if !queue.add_key(options.key(&access_key, &secret), now_ms).await? {
                return Err(CliError::Refused(format!("there is a key {access_key} already")));
            }
            show_pair(&access_key, &secret, options.json)
        }
        KeysCommand::Limits { access_key, limits, json } => {
            let known = queue.keys().await?.into_iter().find(|key| key.access_key == access_key);
            let limits = limits.over(known.ok_or_else(|| unknown(&access_key))?.limits);
            if !queue.set_limits(&access_key, limits).await? {
                return Err(unknown(&access_key));
            }
            match json {
                true => say(&json!({ "access_key": access_key, "limits": limits }).to_string()),
                false => say(&format!("{access_key}: {}", describe(limits))),
            }
        }
        KeysCommand::List { json } => {
            let summaries = queue.keys().await?;
            if json {
                return say(&serde_json::to_string(&summaries).unwrap_or_default());
            }
            for key in summaries {
                let state = if key.revoked_ms.is_some() { "revoked" } else { "live" };
                let signed = if key.require_signed { "signed links only" } else { "" };
                let limits = describe(key.limits);
                say(&format!("{:<24} {state:<8} {signed:<18} {limits} {}", key.access_key, key.name))?;
            }
            Ok(())
        }
        KeysCommand::Rotate { access_key, overlap_hours, json } => {
            let secret = new_secret()?;
            let until_ms = now_ms + overlap_hours * 3_600_000;
            match queue.rotate(&access_key, &secret, until_ms, now_ms).await? {
                Rotation::Done => {}
                Rotation::Unknown => return Err(unknown(&access_key)),
                Rotation::TooMany => {
                    let message =
                        "ten old secrets are still good: wait for the first to end, or end all with --overlap-hours 0";
                    return Err(CliError::Refused(message.to_owned()));
                }
            }
            show_pair(&access_key, &secret, json)
        }
        KeysCommand::Revoke { access_key, json } => {
            if !queue.revoke(&access_key, now_ms).await? {
                return Err(unknown(&access_key));
            }
            match json {
                true => say(&json!({ "access_key": access_key, "revoked": true }).to_string()),
                false => say(&format!("{access_key} is revoked")),
            }
        }
    }
}

fn describe(limits: KeyLimits) -> String {
    let text = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    format!(
        "{}/month {}/minute {} at once",
        text(limits.monthly_quota),
        text(limits.requests_per_minute),
        text(limits.concurrency)
    )
}

/// The one time that a secret is shown: to the operator who made it.
fn show_pair(access_key: &str, secret: &Secret, as_json: bool) -> Result<(), CliError> {
    let webhook_secret = standard_webhook_secret(secret);
    if as_json {
        let pair: Json = json!({
            "access_key": access_key,
            "secret_key": secret.expose(),
            "webhook_secret": webhook_secret.expose(),
        });
        return say(&pair.to_string());
    }
    say(&format!("access key      {access_key}"))?;
    say(&format!("secret key      {}", secret.expose()))?;
    say(&format!("webhook secret  {}  (the same, for Standard Webhooks libraries)", webhook_secret.expose()))
}
