//! `snaphook serve`: the service, from its start to its end.

use std::time::Duration;

use serde_json::json;

use super::{CliError, say};
use crate::config::Config;
use crate::run;
use crate::trace;

pub(super) const HELP: &str = "\
Example: SNAPHOOK_HTTP_LISTEN=0.0.0.0:8400 snaphook serve

Several services that share a PostgreSQL database and a bucket may share out the work too:
  snaphook serve --role api
  snaphook serve --role render
  snaphook serve --role deliver --role tasks";

#[derive(clap::Args)]
pub(super) struct ServeCommand {
    /// What this service does: api, render, deliver or tasks; may be given several times. All, if not said.
    #[arg(long = "role")]
    role: Vec<String>,
}

impl ServeCommand {
    /// As the setting is written.
    pub(super) fn roles(&self) -> Option<String> {
        (!self.role.is_empty()).then(|| self.role.join(","))
    }
}

pub(super) async fn execute(config: Config) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let drain = Duration::from_secs(config.http.drain_seconds);
    trace::start(config.telemetry.otlp_endpoint.expose()).map_err(|error| CliError::Failed(error.to_string()))?;
    let roles = config.roles()?.to_string();
    let running = run::start(config).await?;
    let api = running.address.map(|address| format!("http://{address}"));
    let operations = format!("http://{}", running.operations_address);
    tracing::info!(roles, api, operations, "ready");
    // For whoever started us with port 0 and wants to know.
    say(&json!({ "api": api, "operations": operations, "dashboard": running.dashboard_url }).to_string())?;
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    signalled().await;
    tracing::info!("stopping; a second signal gives up what is under way");
    running.stop(drain, signalled()).await;
    trace::stop().await;
    Ok(())
}
