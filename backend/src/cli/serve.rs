//! `snaphook serve`: the service, from its start to its end.

use std::time::Duration;

use serde_json::json;

use super::{CliError, say};
use crate::config::Config;
use crate::run;
use crate::trace;

pub(super) async fn execute(config: Config) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let drain = Duration::from_secs(config.http.drain_seconds);
    trace::start(config.telemetry.otlp_endpoint.expose()).map_err(|error| CliError::Failed(error.to_string()))?;
    let running = run::start(config).await?;
    tracing::info!(api = %running.address, operations = %running.operations_address, "ready");
    // For whoever started us with port 0 and wants to know.
    let (api, operations) = (format!("http://{}", running.address), format!("http://{}", running.operations_address));
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
