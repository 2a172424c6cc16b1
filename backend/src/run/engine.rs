//! What renders: Chromium, its rules and its one way out. The service is built on it, and so is every command that takes
//! pictures without a service.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snaphook_shared::target::{PortPolicy, TargetPolicy};

use super::StartError;
use crate::config::{Config, Sizing};
use crate::egress::{Egress, EgressProxy, ProxyLimits, resolver};
use crate::render::{
    Blocklists, BrowserSettings, ChromiumRenderer, MemoryLimits, PageTraffic, find_chromium, find_ffmpeg,
};

pub(super) const NO_FFMPEG: &str = "there is no ffmpeg (install it, or say with [render] ffmpeg where it is)";

/// A browser that is ready, and what decides where it may go.
pub struct Engine {
    pub renderer: Arc<ChromiumRenderer>,
    pub egress: Egress,
}

impl Engine {
    /// Starts Chromium by the settings. It writes below `scratch`, which must be nobody else's: what lies there of an
    /// earlier browser is removed. Pages cannot reach the listeners in `closed`, whatever the policy allows.
    ///
    /// # Errors
    /// When there is no Chromium, or it does not start, or does not stay inside.
    pub async fn start(
        config: &Config,
        scratch: PathBuf,
        sizing: Sizing,
        closed: &[SocketAddr],
    ) -> Result<Engine, StartError> {
        let egress = egress(config, closed)?;
        // For a browser by itself, without a render: nothing.
        let nothing = TargetPolicy { allowed_ports: PortPolicy::Only(Vec::new()), ..TargetPolicy::default() };
        let nowhere = Egress::new(nothing, resolver());
        let proxy = Arc::new(EgressProxy::start(nowhere, ProxyLimits::default()).await.map_err(StartError::Proxy)?);
        egress.deny_endpoint(proxy.address);
        let renderer = start_renderer(config, scratch, sizing, egress.clone(), proxy).await?;
        Ok(Engine { renderer: Arc::new(renderer), egress })
    }
}

/// What decides where connections may go: nowhere that is closed, whatever the policy allows.
pub(super) fn egress(config: &Config, closed: &[SocketAddr]) -> Result<Egress, StartError> {
    let policy = config.target_policy().map_err(StartError::Policy)?;
    let egress = Egress::new(policy, resolver());
    for endpoint in closed {
        egress.deny_endpoint(*endpoint);
    }
    Ok(egress)
}

async fn start_renderer(
    config: &Config,
    scratch: PathBuf,
    sizing: Sizing,
    egress: Egress,
    proxy: Arc<EgressProxy>,
) -> Result<ChromiumRenderer, StartError> {
    let sandbox = !config.render.allow_no_sandbox;
    if sandbox && rustix::process::geteuid().is_root() {
        return Err(StartError::SandboxAsRoot);
    }
    if !sandbox {
        tracing::warn!(
            "Chromium runs without its sandbox ([render] allow_no_sandbox): a page that breaks out is on this machine"
        );
    }
    let failed = |source| StartError::DataDir { path: scratch.display().to_string(), source };
    std::fs::create_dir_all(&scratch).map_err(failed)?;
    let scratch_parent = scratch.canonicalize().map_err(failed)?;
    let directory = (!config.render.blocklists_dir.is_empty()).then(|| Path::new(&config.render.blocklists_dir));
    let blocklists = Blocklists::load(directory)
        .map_err(|source| StartError::Blocklists { path: config.render.blocklists_dir.clone(), source })?;
    let settings = BrowserSettings {
        executable: find_chromium(&config.render.chromium).ok_or(StartError::NoChromium)?,
        scratch_parent,
        proxy,
        sandbox,
        memory: MemoryLimits { page_mb: sizing.page_mb, browser_mb: sizing.browser_mb },
    };
    let ffmpeg = find_ffmpeg(&config.render.ffmpeg);
    if ffmpeg.is_none() {
        tracing::warn!("{NO_FFMPEG}: /animate and /v1/screencast will be refused");
    }
    let traffic = PageTraffic {
        bytes_max: config.render.page_bytes_max,
        requests_max: config.render.page_requests_max,
        connections_max: config.render.page_connections_max,
    };
    let renderer = ChromiumRenderer::start(settings, egress, traffic, Arc::new(blocklists), sizing.concurrency).await?;
    Ok(renderer.with_ffmpeg(ffmpeg).with_small_pngs(config.render.small_pngs))
}
