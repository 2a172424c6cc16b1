//! Settings: the compiled-in defaults, a file over them, the environment over both. Read once, then frozen.

mod effective;
mod machine;
mod reference;
mod roles;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use snaphook_shared::request::Policies;
use snaphook_shared::secret::Secret;
use snaphook_shared::target::{HostPattern, Subnet, TargetPolicy};
use toml::{Table, Value};

pub use effective::{Effective, effective, unknown_variables};
pub use machine::{Machine, Sizing};
pub use reference::{Setting, all_settings, reference};
pub use roles::{Role, Roles};

const DEFAULTS: &str = include_str!("../../config.default.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub data_dir: PathBuf,
    pub public_url: String,
    root_key: Secret,
    pub development: bool,
    roles: Vec<String>,
    pub http: HttpConfig,
    pub dashboard: DashboardConfig,
    pub edge: EdgeConfig,
    pub queue: QueueConfig,
    pub render: RenderConfig,
    pub store: StoreConfig,
    pub webhook: WebhookConfig,
    pub egress: EgressConfig,
    pub compat: CompatConfig,
    pub telemetry: TelemetryConfig,
    pub log: LogConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    pub operations_listen: SocketAddr,
    pub header_timeout_seconds: u64,
    pub body_timeout_seconds: u64,
    pub drain_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DashboardConfig {
    pub enabled: bool,
    listen: String,
    pub session_seconds: u64,
    pub session_idle_seconds: u64,
}

impl DashboardConfig {
    /// Its own listener, if it has one.
    pub fn listen(&self) -> Result<Option<SocketAddr>, String> {
        match self.listen.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("[dashboard] listen must be address:port, not {text}")),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    secrets: Vec<Secret>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    database_url: Secret,
    pub database_connections_max: u32,
    pub database_timeout_seconds: u64,
    pub disk_free_min_mb: u64,
    pub capacity: u64,
    pub lease_seconds: u64,
    pub request_lifetime_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderConfig {
    pub chromium: String,
    pub ffmpeg: String,
    concurrency: usize,
    pub waiting_max: usize,
    pub allow_no_sandbox: bool,
    pub blocklists_dir: String,
    pub page_bytes_max: u64,
    pub page_requests_max: u64,
    pub page_connections_max: usize,
    pub small_pngs: bool,
    page_memory_max_mb: u64,
    browser_memory_max_mb: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    pub url: String,
    pub endpoint: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub file_lifetime_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    pub schedule_seconds: Vec<u64>,
    pub timeout_seconds: u64,
    pub concurrency: u32,
    pub per_receiver_concurrency: u32,
    pub allow_http: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    allow_subnets: Vec<String>,
    deny_subnets: Vec<String>,
    allow_hosts: Vec<String>,
    deny_hosts: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatConfig {
    pub screenshotone_async_status: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// It may hold a token.
    pub otlp_endpoint: Secret,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub level: String,
    pub format: String,
}

/// What is wrong with the settings; all of it at once where that is possible.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path}: {source}")]
    Syntax { path: String, source: toml::de::Error },
    #[error("the settings are not valid: {0}")]
    Shape(toml::de::Error),
    #[error("{variable} must be {wanted}")]
    Environment { variable: String, wanted: &'static str },
    #[error("{}", .0.join("\n"))]
    Values(Vec<String>),
}

impl Config {
    /// Bytes that must be free below the data directory for new work to be accepted; None if nothing is kept there.
    pub fn disk_free_min(&self) -> Option<u64> {
        let keeps_here = self.database_url().is_none() || self.store.url.is_empty();
        let bytes = self.queue.disk_free_min_mb.saturating_mul(1024 * 1024);
        (keeps_here && bytes > 0).then_some(bytes)
    }

    /// Reads everything. `environment` gives the value of a variable.
    pub fn load(file: Option<&Path>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let (mut settings, over) = read(file)?;
        if let Some((_, over)) = over {
            merge(&mut settings, over);
        }
        override_from(&mut settings, "SNAPHOOK", environment)?;
        let config: Config = settings.try_into().map_err(ConfigError::Shape)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, message: &str| {
            if !holds {
                wrong.push(message.to_owned());
            }
        };
        must(self.queue.capacity > 0, "[queue] capacity must be at least 1");
        must(self.queue.lease_seconds >= 5, "[queue] lease_seconds must be at least 5");
        must(
            self.database_url().is_none_or(|url| is_postgres_url(url.expose())),
            "[queue] database_url must begin with postgres://, or be empty",
        );
        // One tells and one hears what others have; the work needs some too.
        must(self.queue.database_connections_max >= 4, "[queue] database_connections_max must be at least 4");
        must(self.queue.database_timeout_seconds > 0, "[queue] database_timeout_seconds must be at least 1");
        // An idempotency key must be remembered for a day.
        must(self.queue.request_lifetime_seconds >= 86_400, "[queue] request_lifetime_seconds must be at least 86400");
        let page = &self.render;
        must(
            page.page_bytes_max > 0 && page.page_requests_max > 0 && page.page_connections_max > 0,
            "[render] page_bytes_max, page_requests_max and page_connections_max must be at least 1",
        );
        must(
            self.dashboard.session_seconds > 0 && self.dashboard.session_idle_seconds > 0,
            "[dashboard] session_seconds and session_idle_seconds must be at least 1",
        );
        must(!self.webhook.schedule_seconds.is_empty(), "[webhook] schedule_seconds must have an entry");
        must(self.webhook.timeout_seconds > 0, "[webhook] timeout_seconds must be at least 1");
        must(self.webhook.concurrency > 0, "[webhook] concurrency must be at least 1");
        must(self.webhook.per_receiver_concurrency > 0, "[webhook] per_receiver_concurrency must be at least 1");
        must(
            matches!(self.compat.screenshotone_async_status, 200..=202),
            "[compat] screenshotone_async_status must be 200, 201 or 202",
        );
        let endpoint = self.telemetry.otlp_endpoint.expose();
        let is_http = endpoint.parse::<reqwest::Url>().is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        must(endpoint.is_empty() || is_http, "[telemetry] otlp_endpoint must be an http:// or https:// address");
        must(matches!(self.log.format.as_str(), "text" | "json"), "[log] format must be text or json");
        must(!self.public_url.ends_with('/'), "public_url must not end with a slash");
        let pairs = self.edge.secrets.iter().all(|secret| {
            secret.expose().split_once(':').is_some_and(|(id, secret)| !id.is_empty() && secret.len() >= 16)
        });
        must(pairs, "[edge] secrets must be \"key-id:secret\", the secret of 16 or more characters");
        match Roles::parse(&self.roles) {
            Ok(roles) if !roles.is_all() && (self.database_url().is_none() || self.store.url.is_empty()) => {
                wrong.push(
                    "a service with some roles needs [queue] database_url and [store] url, which it shares with the others"
                        .to_owned(),
                );
            }
            Ok(_) => {}
            Err(error) => wrong.push(error),
        }
        wrong.extend(self.target_policy().err());
        wrong.extend(self.dashboard.listen().err());
        if wrong.is_empty() { Ok(()) } else { Err(ConfigError::Values(wrong)) }
    }

    /// Where PostgreSQL is; None for the embedded SQLite.
    pub fn database_url(&self) -> Option<&Secret> {
        Some(&self.queue.database_url).filter(|url| !url.expose().is_empty())
    }

    pub fn root_key(&self) -> &str {
        self.root_key.expose()
    }

    /// Key ids and secrets of the edges that may hand over.
    pub fn edge_secrets(&self) -> Vec<(String, Secret)> {
        let pair =
            |secret: &Secret| secret.expose().split_once(':').map(|(id, secret)| (id.to_owned(), Secret::new(secret)));
        self.edge.secrets.iter().filter_map(pair).collect()
    }

    /// What the service does.
    pub fn roles(&self) -> Result<Roles, ConfigError> {
        Roles::parse(&self.roles).map_err(|error| ConfigError::Values(vec![error]))
    }

    /// How much is rendered at once, on this machine.
    pub fn sizing(&self) -> Sizing {
        Sizing::of(&self.render, Machine::here())
    }

    /// Where pages and webhooks may lead, as the checks of a request want to know it.
    pub fn policies(&self) -> Result<Policies, ConfigError> {
        let policy = self.target_policy().map_err(|error| ConfigError::Values(vec![error]))?;
        Ok(Policies::new(policy, self.webhook.allow_http || self.development))
    }

    /// The dashboard's own listener, if it has one.
    pub fn dashboard_listen(&self) -> Option<SocketAddr> {
        // What it says was checked when the settings were read.
        self.dashboard.listen().ok().flatten().filter(|_| self.dashboard.enabled)
    }

    /// Where pages and webhooks may lead.
    pub fn target_policy(&self) -> Result<TargetPolicy, String> {
        let mut policy = match self.development {
            true => TargetPolicy::development(),
            false => TargetPolicy::default(),
        };
        let egress = &self.egress;
        policy.allow_subnets.extend(parsed::<Subnet>("allow_subnets", &egress.allow_subnets)?);
        policy.deny_subnets.extend(parsed::<Subnet>("deny_subnets", &egress.deny_subnets)?);
        policy.allow_hosts.extend(parsed::<HostPattern>("allow_hosts", &egress.allow_hosts)?);
        policy.deny_hosts.extend(parsed::<HostPattern>("deny_hosts", &egress.deny_hosts)?);
        Ok(policy)
    }
}

/// A rule that cannot be read must not be a rule that nobody is held to.
fn parsed<T: FromStr<Err: Display>>(name: &str, texts: &[String]) -> Result<Vec<T>, String> {
    let parse = |text: &String| text.parse().map_err(|error| format!("[egress] {name}: {text}: {error}"));
    texts.iter().map(parse).collect()
}

/// Whether it names a PostgreSQL database.
pub fn is_postgres_url(url: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
}

/// The defaults, and what a file says over them.
fn read(file: Option<&Path>) -> Result<(Table, Option<(PathBuf, Table)>), ConfigError> {
    let syntax = |path: &Path, source| ConfigError::Syntax { path: path.display().to_string(), source };
    let defaults: Table = DEFAULTS.parse().map_err(|source| syntax(Path::new("the defaults"), source))?;
    let usual = Path::new("snaphook.toml");
    let Some(path) = file.or_else(|| usual.is_file().then_some(usual)) else { return Ok((defaults, None)) };
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.display().to_string(), source })?;
    let over = text.parse().map_err(|source| syntax(path, source))?;
    Ok((defaults, Some((path.to_owned(), over))))
}

/// Tables are merged, everything else is replaced.
fn merge(base: &mut Table, over: Table) {
    for (name, value) in over {
        match (base.get_mut(&name), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// Each setting has one variable; its type is that of the default.
fn override_from(
    settings: &mut Table,
    prefix: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    for (name, value) in settings.iter_mut() {
        let variable = format!("{prefix}_{}", name.to_uppercase());
        if let Value::Table(inner) = value {
            override_from(inner, &variable, environment)?;
            continue;
        }
        let Some(text) = environment(&variable) else { continue };
        let wrong = |wanted| ConfigError::Environment { variable: variable.clone(), wanted };
        *value = match value {
            Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| wrong("true or false"))?),
            Value::Integer(_) => Value::Integer(text.parse().map_err(|_| wrong("a whole number"))?),
            Value::Array(_) => {
                let item = |item: &str| item.parse().map_or_else(|_| Value::String(item.to_owned()), Value::Integer);
                Value::Array(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(item).collect())
            }
            _ => Value::String(text),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_load_and_the_environment_overrides_them() {
        let environment = |name: &str| match name {
            "SNAPHOOK_HTTP_LISTEN" => Some("127.0.0.1:9".to_owned()),
            "SNAPHOOK_EDGE_SECRETS" => Some("a:0123456789abcdef, b:fedcba9876543210".to_owned()),
            "SNAPHOOK_WEBHOOK_SCHEDULE_SECONDS" => Some("0,1".to_owned()),
            _ => None,
        };
        let config = Config::load(None, &environment).unwrap();
        assert_eq!(config.http.listen.port(), 9);
        assert_eq!(config.webhook.schedule_seconds, [0, 1]);
        assert_eq!(config.edge_secrets().len(), 2);
        assert!(!format!("{config:?}").contains("0123456789abcdef"), "a secret is printed");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let bad = |name: &str| (name == "SNAPHOOK_QUEUE_CAPACITY").then(|| "many".to_owned());
        assert_eq!(Config::load(None, &bad).unwrap_err().to_string(), "SNAPHOOK_QUEUE_CAPACITY must be a whole number");
        let bad = |name: &str| match name {
            "SNAPHOOK_QUEUE_CAPACITY" => Some("0".to_owned()),
            "SNAPHOOK_EGRESS_ALLOW_SUBNETS" => Some("ten".to_owned()),
            "SNAPHOOK_QUEUE_DATABASE_URL" => Some("mysql://me:open-sesame@localhost".to_owned()),
            _ => None,
        };
        let message = Config::load(None, &bad).unwrap_err().to_string();
        for part in ["capacity", "allow_subnets", "database_url must begin with postgres://"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(!message.contains("open-sesame"), "{message}");
        // A rule that says nothing would be one that nobody is held to.
        for host in ["10.0.0.5", "https://x.example", "bücher.example", "*example.com", "*", "", "[::1]", "a:80"] {
            let bad = |name: &str| (name == "SNAPHOOK_EGRESS_DENY_HOSTS").then(|| host.to_owned());
            let denied = Config::load(None, &bad).and_then(|config| config.policies());
            assert_eq!(denied.is_err(), !host.is_empty(), "{host}");
        }
    }
}
