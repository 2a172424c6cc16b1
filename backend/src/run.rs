//! The composition root: from settings to running parts, and their end in the right order.

mod engine;
mod operations;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use snaphook_shared::signing::SecretKey;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::dashboard::{self, Dashboard, Places};
use crate::domain::notice::Links;
use crate::domain::operator::{NoRandomness, random_text};
use crate::domain::pipeline::Pipeline;
use crate::domain::ports::QueueError;
use crate::http::{Api, Flights, Limits, Server, Waiting, dashboard_routes, operations_routes, routes};
use crate::notify::{Sender, WebhookClient, build_client};
use crate::queue::postgres::{PostgresQueue, PostgresSettings};
use crate::queue::secrets::{RootKey, RootKeyError};
use crate::queue::sqlite::SqliteQueue;
use crate::queue::{Bells, Queue};
use crate::render::{ChromiumRenderer, LaunchError};
use crate::schedule::Scheduler;
use crate::store::{Store, StoreError, Uploader};
use crate::sweep::Sweeper;
use crate::worker::Worker;
pub use engine::Engine;
use operations::Operations;

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
    /// Where the API listens.
    pub address: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub operations_address: SocketAddr,
    /// Where the dashboard is; None if it is turned off.
    pub dashboard_url: Option<String>,
    stop: CancellationToken,
    /// What is under way is given up.
    abandon: CancellationToken,
    tasks: TaskTracker,
    queue: Arc<dyn Queue>,
    renderer: Arc<ChromiumRenderer>,
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

fn root_key(config: &Config) -> Result<RootKey, StartError> {
    let data_dir = &config.data_dir;
    let failed = |source| StartError::DataDir { path: data_dir.display().to_string(), source };
    std::fs::create_dir_all(data_dir).map_err(failed)?;
    Ok(RootKey::load(config.root_key(), data_dir)?)
}

/// How a PostgreSQL database is used, by the settings.
pub fn postgres_settings(config: &Config, url: &SecretKey) -> PostgresSettings {
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

/// What the operator is told of where things are kept: no credentials.
fn places(config: &Config) -> Places {
    // What is before an `@` in a URL is a user and a password.
    let bare = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => url.to_owned(),
    };
    let (url, endpoint) = (&config.store.url, &config.store.endpoint);
    let files = match (url.is_empty(), endpoint.is_empty()) {
        (true, _) => config.data_dir.join("files").display().to_string(),
        (false, true) => bare(url),
        (false, false) => format!("{} at {}", bare(url), bare(endpoint)),
    };
    let database = match config.database_url() {
        Some(_) => "PostgreSQL".to_owned(),
        None => config.data_dir.join(DATABASE).display().to_string(),
    };
    Places {
        data_dir: config.data_dir.clone(),
        files,
        database,
        file_lifetime: Duration::from_secs(config.store.file_lifetime_seconds),
        request_lifetime: Duration::from_secs(config.queue.request_lifetime_seconds),
    }
}

/// Starts every part. Nothing is served before all of them are ready.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let queue = open_queue(&config).await?;
    let lock = lock(&config.data_dir)?;
    let listen = |address: SocketAddr| async move {
        let limits = Limits {
            headers: Duration::from_secs(config.http.header_timeout_seconds),
            drain: Duration::from_secs(config.http.drain_seconds),
        };
        Server::bind(address, limits).await.map_err(|source| StartError::Listen { address, source })
    };
    let server = listen(config.http.listen).await?;
    let operations = listen(config.http.operations_listen).await?;
    let bound = |server: &Server, address| server.address().map_err(|source| StartError::Listen { address, source });
    let address = bound(&server, config.http.listen)?;
    let operations_address = bound(&operations, config.http.operations_listen)?;

    let dashboard_listen = config.dashboard_listen();
    let dashboard_server = match dashboard_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let dashboard_address = match (&dashboard_server, dashboard_listen) {
        (Some(server), Some(wanted)) => Some(bound(server, wanted)?),
        _ => None,
    };

    let scratch = config.data_dir.join("scratch");
    let sizing = config.sizing();
    let closed: Vec<SocketAddr> = [operations_address].into_iter().chain(dashboard_address).collect();
    tracing::info!(
        pages = sizing.concurrency,
        page_memory_max_mb = sizing.page_mb,
        browser_memory_max_mb = sizing.browser_mb,
        "rendering so much at once"
    );
    let engine = Engine::start(&config, scratch, sizing, &closed).await?;
    let Engine { renderer, egress } = engine;
    // The operator's own store may be anywhere; only what callers name is judged.
    let store_client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    let store = Arc::new(Store::open(&config, store_client)?);

    let (clock, links) = (Clock::default(), links(&config, address));
    let pipeline = Arc::new(Pipeline {
        renderer: renderer.clone(),
        store: store.clone(),
        queue: queue.clone(),
        clock: clock.clone(),
        links: links.clone(),
        file_lifetime: Duration::from_secs(config.store.file_lifetime_seconds),
        uploads: Arc::new(Uploader::new(egress.clone(), build_client(&egress)?)),
    });
    let released = queue.release(None).await?;
    if released > 0 {
        tracing::info!(released, "taken up again after an unclean end");
    }

    if queue.keys().await?.is_empty() {
        tracing::warn!("there is no access key yet, so nobody can call: snaphook keys create, or keys import");
    }

    let dashboard_url = config.dashboard.enabled.then(|| match dashboard_address {
        Some(address) => format!("http://{address}/dashboard"),
        None => format!("{}/dashboard", links.public_url),
    });
    if let Some(url) = &dashboard_url {
        dashboard::make_first_password(&*queue, clock.now_ms(), url).await?;
    }

    let (stop, abandon, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let bells = Bells::default();
    let (requests, deliveries) = (bells.requests.clone(), bells.deliveries.clone());
    let policies = config.policies().map_err(|error| StartError::Policy(error.to_string()))?;
    let sandbox = !config.render.allow_no_sandbox;
    let watch = Arc::new(Operations::new(renderer.clone(), queue.clone(), clock.clone(), sandbox));
    let api = Arc::new(Api {
        pipeline: pipeline.clone(),
        queue: queue.clone(),
        tasks: queue.clone(),
        store: store.clone(),
        clock: clock.clone(),
        links: links.clone(),
        policies: policies.clone(),
        edge_secrets: config.edge_secrets(),
        screenshotone_async_status: config.compat.screenshotone_async_status,
        body_timeout: Duration::from_secs(config.http.body_timeout_seconds),
        makes_videos: renderer.makes_videos(),
        waiting: Waiting::new(config.render.waiting_max + sizing.concurrency),
        flights: Flights::default(),
        requests: requests.clone(),
        deliveries: deliveries.clone(),
    });
    let pages = config.dashboard.enabled.then(|| {
        Arc::new(Dashboard::new(dashboard::Parts {
            queue: queue.clone(),
            operator: queue.clone(),
            admins: queue.clone(),
            readiness: watch.clone(),
            trials: api.clone(),
            clock: clock.clone(),
            links: links.clone(),
            places: places(&config),
            // A listener of its own speaks plain HTTP, whatever the callers' address is.
            secure: dashboard_address.is_none() && links.public_url.starts_with("https://"),
            requests: requests.clone(),
            deliveries: deliveries.clone(),
            session_lifetime: Duration::from_secs(config.dashboard.session_seconds),
            session_idle: Duration::from_secs(config.dashboard.session_idle_seconds),
        }))
    });
    // A listener of its own has the pages, or that of the API.
    let (own, pages_of_api) = match (dashboard_server, pages) {
        (Some(server), Some(pages)) => (Some((server, dashboard_routes(pages, api.clone()))), None),
        (_, pages) => (None, pages),
    };
    let api_routes = routes(api, pages_of_api);
    let webhook_client = WebhookClient::new(egress)?;
    // Others may have the same process id and the same start, in containers of their own.
    let service = random_text(9)?;

    // Everything is there: from here on nothing is waited for, and all begins at once.
    let (relay, stopped) = (queue.clone(), stop.clone());
    tasks.spawn(async move { stopped.run_until_cancelled(relay.relay(bells)).await });
    for number in 0..sizing.concurrency {
        let worker = Worker {
            name: format!("{service}-{number}"),
            pipeline: pipeline.clone(),
            clock: clock.clone(),
            lease: Duration::from_secs(config.queue.lease_seconds),
            requests: requests.clone(),
            deliveries: deliveries.clone(),
        };
        tasks.spawn(worker.run(stop.clone(), abandon.clone()));
    }
    let sender = Arc::new(Sender {
        queue: queue.clone(),
        store: store.clone(),
        client: webhook_client,
        clock: clock.clone(),
        schedule_seconds: config.webhook.schedule_seconds.clone(),
        timeout: Duration::from_secs(config.webhook.timeout_seconds),
        concurrency: config.webhook.concurrency,
        per_receiver: config.webhook.per_receiver_concurrency,
        wake: deliveries.clone(),
    });
    tasks.spawn(sender.run(stop.clone(), abandon.clone()));
    let sweeper = Sweeper {
        queue: queue.clone(),
        store: store.clone(),
        clock: clock.clone(),
        request_lifetime: Duration::from_secs(config.queue.request_lifetime_seconds),
    };
    tasks.spawn(sweeper.run(stop.clone()));
    let scheduler = Scheduler { tasks: queue.clone(), clock: clock.clone(), policies, requests: requests.clone() };
    tasks.spawn(scheduler.run(stop.clone()));
    tasks.spawn(watch.clone().watch(stop.clone()));
    if let Some((server, routes)) = own {
        tasks.spawn(server.run(routes, stop.clone()));
    }
    tasks.spawn(server.run(api_routes, stop.clone()));
    tasks.spawn(operations.run(operations_routes(watch.clone(), watch), stop.clone()));
    Ok(Running { address, operations_address, dashboard_url, stop, abandon, tasks, queue, renderer, _lock: lock })
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
            match self.queue.release(None).await {
                Ok(released) => tracing::warn!(released, "what did not end in time is taken up at the next start"),
                // Nor is it lost then: the next start releases what it finds.
                Err(error) => tracing::error!(%error, "what did not end in time could not be given back"),
            }
        }
        self.renderer.stop().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_things_are_is_told_without_credentials() {
        let told = |settings: &[(&str, &str)]| {
            let of =
                |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            places(&Config::load(None, &of).unwrap())
        };
        let local = told(&[("SNAPHOOK_DATA_DIR", "/var/lib/snaphook")]);
        assert_eq!(
            (local.files.as_str(), local.database.as_str()),
            ("/var/lib/snaphook/files", "/var/lib/snaphook/snaphook.db")
        );
        let away = told(&[
            ("SNAPHOOK_STORE_URL", "s3://shots/files"),
            ("SNAPHOOK_STORE_ENDPOINT", "http://who:open-sesame@127.0.0.1:9000"),
            ("SNAPHOOK_STORE_SECRET_ACCESS_KEY", "open-sesame"),
            ("SNAPHOOK_QUEUE_DATABASE_URL", "postgres://who:open-sesame@127.0.0.1/shots"),
        ]);
        assert_eq!(
            (away.files.as_str(), away.database.as_str()),
            ("s3://shots/files at http://127.0.0.1:9000", "PostgreSQL")
        );
        assert!(!format!("{away:?}").contains("sesame"));
    }
}
