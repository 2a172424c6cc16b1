//! `snaphook health`: whether the service on this machine is alive, for whoever has no other program to ask with, as a
//! container's health check.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;

use super::{CliError, say, say_json};
use crate::config::Config;

pub(super) const HELP: &str = "\
Examples:
  snaphook health
  snaphook health --ready --json

It asks /healthz, or /readyz with --ready, on [http] operations_listen of the same settings that the service has.
Exit codes: 0 yes, 1 no or no answer, 78 wrong settings.";

/// Longer is no answer: both are looked at in the background.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct HealthCommand {
    /// Ask whether work can be done, and not only whether the process answers.
    #[arg(long)]
    ready: bool,
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(config: &Config, command: HealthCommand) -> Result<(), CliError> {
    let path = if command.ready { "readyz" } else { "healthz" };
    let url = format!("http://{}/{path}", reachable(config.http.operations_listen));
    let failed = |error: reqwest::Error| CliError::Failed(format!("{url}: {}", error.without_url()));
    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().map_err(failed)?;
    let answer = client.get(&url).send().await.map_err(failed)?;
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    match (command.json, serde_json::from_str::<Json>(&text)) {
        (true, Ok(json)) => say_json(&json)?,
        _ => say(&text)?,
    }
    match status.is_success() {
        true => Ok(()),
        false => Err(CliError::Failed(format!("{url} answered {}", status.as_u16()))),
    }
}

/// Where to ask a service that listens on every address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    };
    SocketAddr::new(address, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_listens_everywhere_is_asked_here() {
        for (listen, asked) in [
            ("0.0.0.0:8401", "127.0.0.1:8401"),
            ("[::]:8401", "[::1]:8401"),
            ("10.1.2.3:9", "10.1.2.3:9"),
            ("127.0.0.1:8401", "127.0.0.1:8401"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
