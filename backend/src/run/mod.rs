//! The composition root: from settings to running parts, and their end in the right order.

mod engine;
mod listeners;
mod operations;
mod parts;
mod places;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use snaphook_shared::secret::Secret;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{Config, Role, Sizing};
use crate::disk::LastLook;
use crate::domain::delivery::Release;
use crate::domain::notice::Links;
use crate::domain::operator::NoRandomness;
use crate::domain::ports::QueueError;
use crate::http::operations_routes;
use crate::queue::postgres::{PostgresQueue, PostgresSettings};
use crate::queue::secrets::{RootKey, RootKeyError};
use crate::queue::sqlite::SqliteQueue;
use crate::queue::{Bells, Queue};
use crate::render::{ChromiumRenderer, LaunchError};
use crate::store::{Store, StoreError};
pub use engine::Engine;
use listeners::Listeners;
use parts::{ApiRoutes, Parts};

/// For a connection to the store.
const STORE_CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{path}: {source}")]
    DataDir { path: String, source: std::io::Error },
    #[error("another snaphook is using {0}")]
    InUse(String),
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    #[error(transparent)]
    Random(#[from] NoRandomness),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("the egress proxy: {0}")]
    Proxy(std::io::Error),
    #[error(
        "no Chromium found: install chromium-headless-shell or chromium, or say with [render] chromium where it is"
    )]
    NoChromium,
    #[error(
        "Chromium's sandbox cannot start as root: run snaphook as another user, or set [render] allow_no_sandbox = true"
    )]
    SandboxAsRoot,
    #[error("[render] blocklists_dir {path}: {source}")]
    Blocklists { path: String, source: std::io::Error },
    #[error(transparent)]
    Browser(#[from] LaunchError),
    #[error("{0}")]
    Policy(String),
}

/// The SQLite file in the data directory.
pub const DATABASE: &str = "snaphook.db";

/// A running service.
pub struct Running {
    /// Where the API listens; None if this service has none.
    pub address: Option<SocketAddr>,
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub operations_address: SocketAddr,
    /// Where the dashboard is; None if there is none here.
    pub dashboard_url: Option<String>,
    stop: CancellationToken,
    /// What is under way is given up.
    abandon: CancellationToken,
    tasks: TaskTracker,
    queue: Arc<dyn Queue>,
    clock: Clock,
    renderer: Option<Arc<ChromiumRenderer>>,
    _lock: File,
}

/// Opens the durable state: for the service, and for commands that work on it.
pub async fn open_queue(config: &Config) -> Result<Arc<dyn Queue>, StartError> {
    let Some(url) = config.database_url() else { return Ok(Arc::new(open_embedded(config)?)) };
    let settings = postgres_settings(config, url);
    Ok(Arc::new(PostgresQueue::open(&settings, root_key(config)?, config.queue.capacity).await?))
}

/// Opens the SQLite file in the data directory, whatever else is set.
pub fn open_embedded(config: &Config) -> Result<SqliteQueue, StartError> {
    let root_key = root_key(config)?;
    Ok(SqliteQueue::open(&config.data_dir.join(DATABASE), root_key, config.queue.capacity)?)
}

/// The root key, which is made at first use.
pub fn root_key(config: &Config) -> Result<RootKey, StartError> {
    let data_dir = &config.data_dir;
    let failed = |source| StartError::DataDir { path: data_dir.display().to_string(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    Ok(RootKey::load(config.root_key(), data_dir)?)
}

/// The root key, if there is one already.
pub fn existing_root_key(config: &Config) -> Result<Option<RootKey>, RootKeyError> {
    let there = !config.root_key().is_empty() || RootKey::file(&config.data_dir).exists();
    there.then(|| RootKey::load(config.root_key(), &config.data_dir)).transpose()
}

/// How a PostgreSQL database is used, by the settings.
pub fn postgres_settings(config: &Config, url: &Secret) -> PostgresSettings {
    PostgresSettings {
        url: url.clone(),
        connections_max: config.queue.database_connections_max,
        timeout: Duration::from_secs(config.queue.database_timeout_seconds),
    }
}

/// How callers reach a service that listens there.
pub fn links(config: &Config, address: SocketAddr) -> Links {
    let public_url = match config.public_url.as_str() {
        "" => format!("http://{address}"),
        url => url.to_owned(),
    };
    Links { public_url }
}

/// Starts every part that the roles ask for. Nothing is served before all of them are ready.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let roles = config.roles().map_err(|error| StartError::Policy(error.to_string()))?;
    let queue = open_queue(&config).await?;
    let lock = lock(&config.data_dir)?;
    let listeners = Listeners::bind(&config, &roles).await?;
    let closed = listeners.closed_to_pages();
    let engine = match roles.has_browser() {
        true => Some(Engine::start(&config, config.data_dir.join("scratch"), told(config.sizing()), &closed).await?),
        false => None,
    };
    let egress = match &engine {
        Some(engine) => engine.egress.clone(),
        None => engine::egress(&config, &closed)?,
    };
    let renderer = engine.map(|engine| engine.renderer);
    // The operator's own store may be anywhere; only what callers name is judged.
    let store_client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(STORE_CONNECT_LIMIT)
        .build()?;
    let parts = Parts {
        store: Arc::new(Store::open(&config, store_client)?),
        clock: Clock::default(),
        links: links(&config, listeners.api_address.unwrap_or(config.http.listen)),
        policies: config.policies().map_err(|error| StartError::Policy(error.to_string()))?,
        bells: Bells::default(),
        disk: LastLook::default(),
        queue: queue.clone(),
        egress,
        config,
    };
    let watch = Arc::new(parts.watch(renderer.clone()));
    let pipeline = renderer.clone().map(|renderer| parts.pipeline(renderer)).transpose()?.map(Arc::new);
    let released = queue.release(Release::Found { now_ms: parts.clock.now_ms() }).await?;
    if released > 0 {
        tracing::info!(released, "taken up again after an unclean end");
    }
    let (mut api, mut workers) = (None, Vec::new());
    if let (Some(renderer), Some(pipeline)) = (&renderer, &pipeline) {
        if roles.has(Role::Api) {
            api = Some(parts.api(&listeners, renderer, pipeline.clone(), watch.clone()).await?);
        }
        if roles.has(Role::Render) {
            workers = parts.workers(pipeline)?;
        }
    }
    let sender = roles.has(Role::Deliver).then(|| parts.sender()).transpose()?;
    let keepers = roles.has(Role::Tasks).then(|| (parts.sweeper(), parts.scheduler()));

    // Everything is there: from here on nothing is waited for, and all begins at once.
    let Listeners { api: api_server, dashboard: dashboard_server, operations, .. } = listeners;
    let (api_address, operations_address) = (listeners.api_address, listeners.operations_address);
    let (stop, abandon, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let (relay, stopped, bells) = (queue.clone(), stop.clone(), parts.bells.clone());
    tasks.spawn(async move { stopped.run_until_cancelled(relay.relay(bells)).await });
    for worker in workers {
        tasks.spawn(worker.run(stop.clone(), abandon.clone()));
    }
    if let Some(sender) = sender {
        tasks.spawn(sender.run(stop.clone(), abandon.clone()));
    }
    if let Some((sweeper, scheduler)) = keepers {
        tasks.spawn(sweeper.run(stop.clone()));
        tasks.spawn(scheduler.run(stop.clone()));
    }
    tasks.spawn(watch.clone().watch(stop.clone()));
    let mut dashboard_url = None;
    if let Some(ApiRoutes { api, dashboard, url }) = api {
        dashboard_url = url;
        for (server, routes) in [(dashboard_server, dashboard), (api_server, Some(api))] {
            if let (Some(server), Some(routes)) = (server, routes) {
                tasks.spawn(server.run(routes, stop.clone()));
            }
        }
    }
    tasks.spawn(operations.run(operations_routes(watch.clone(), watch), stop.clone()));
    Ok(Running {
        address: api_address,
        operations_address,
        dashboard_url,
        stop,
        abandon,
        tasks,
        queue,
        clock: parts.clock,
        renderer,
        _lock: lock,
    })
}

fn told(sizing: Sizing) -> Sizing {
    tracing::info!(
        pages = sizing.concurrency,
        page_memory_max_mb = sizing.page_mb,
        browser_memory_max_mb = sizing.browser_mb,
        "rendering so much at once"
    );
    sizing
}

impl Running {
    /// Takes nothing new, ends what is under way within the limit, or until `hurry`, and closes the browser. What did not
    /// end goes back to the queue.
    pub async fn stop(self, limit: Duration, hurry: impl Future<Output = ()>) {
        self.stop.cancel();
        self.tasks.close();
        let all_ended = tokio::select! {
            result = tokio::time::timeout(limit, self.tasks.wait()) => result.is_ok(),
            () = hurry => false,
        };
        if !all_ended {
            // Before the browser goes: a render that lost it would count as one that failed.
            self.abandon.cancel();
            match self.queue.release(Release::Stopping { now_ms: self.clock.now_ms() }).await {
                Ok(released) => tracing::warn!(released, "what did not end in time is taken up at the next start"),
                // Nor is it lost then: the next start releases what it finds.
                Err(error) => tracing::error!(%error, "what did not end in time could not be given back"),
            }
        }
        if let Some(renderer) = &self.renderer {
            renderer.stop().await;
        }
    }
}

/// Whether a service is at work on this directory.
pub fn is_in_use(data_dir: &Path) -> bool {
    let file = File::options().write(true).open(data_dir.join("lock"));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Holds a data directory, as long as the file is open. One service for one: two would render everything twice.
pub fn lock(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join("lock");
    let failed = |source| StartError::DataDir { path: path.display().to_string(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(data_dir.display().to_string())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
