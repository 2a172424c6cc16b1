//! What the operations listener tells: whether work can be done, and what the metrics are at this moment.
//!
//! The browser and the database are looked at in the background, so that whoever asks gets the answer at once, however busy
//! they are. One failure may be chance, two in a row are not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::engine::NO_FFMPEG;
use crate::clock::Clock;
use crate::disk::LastLook;
use crate::domain::ports::Readiness;
use crate::http::Scrape;
use crate::metrics::{self, QueueSnapshot, Snapshot};
use crate::queue::Queue;
use crate::render::ChromiumRenderer;

const INTERVAL: Duration = Duration::from_secs(1);
/// A look may start a browser, which may take so long on a busy machine.
const BROWSER_LIMIT: Duration = Duration::from_secs(40);
const DATABASE_LIMIT: Duration = Duration::from_secs(10);
/// Less than a scraper waits.
const BACKLOG_LIMIT: Duration = Duration::from_secs(2);
const FAILURES_MAX: u32 = 2;

/// What was seen of one part.
struct Watched {
    failures: AtomicU32,
    looked: Mutex<Instant>,
    limit: Duration,
}

impl Watched {
    /// It was good a moment ago, or the service would not have started.
    fn new(limit: Duration) -> Watched {
        Watched { failures: AtomicU32::new(0), looked: Mutex::new(Instant::now()), limit }
    }

    async fn look(&self, is_well: impl Future<Output = bool>) {
        match tokio::time::timeout(self.limit, is_well).await {
            Ok(true) => self.failures.store(0, Ordering::Relaxed),
            _ => drop(self.failures.fetch_add(1, Ordering::Relaxed)),
        }
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Also what nobody has looked at for long is not known to be well.
    fn is_well(&self) -> bool {
        let age = self.looked.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        self.failures.load(Ordering::Relaxed) < FAILURES_MAX && age < self.limit * 2
    }
}

pub(super) struct Operations {
    /// None where nothing is rendered.
    renderer: Option<Arc<ChromiumRenderer>>,
    queue: Arc<dyn Queue>,
    clock: Clock,
    sandbox: bool,
    browser: Watched,
    database: Watched,
    disk: Disk,
}

/// The disk, if anything is kept on it.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) last: LastLook,
    pub(super) data_dir: PathBuf,
    pub(super) free_min: Option<u64>,
}

impl Operations {
    pub(super) fn new(
        renderer: Option<Arc<ChromiumRenderer>>,
        queue: Arc<dyn Queue>,
        clock: Clock,
        sandbox: bool,
        disk: Disk,
    ) -> Operations {
        let (browser, database) = (Watched::new(BROWSER_LIMIT), Watched::new(DATABASE_LIMIT));
        Operations { renderer, queue, clock, sandbox, browser, database, disk }
    }

    /// Looks at everything, again and again.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch_browser() => {}
            () = self.watch_database() => {}
            () = self.watch_disk() => {}
        }
    }
}

impl Operations {
    async fn watch_browser(&self) {
        let Some(renderer) = &self.renderer else { return std::future::pending().await };
        loop {
            self.browser.look(renderer.is_ready()).await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn watch_database(&self) {
        loop {
            self.database.look(async { self.queue.key("readiness").await.is_ok() }).await;
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

impl Operations {
    async fn watch_disk(&self) {
        let Some(free_min) = self.disk.free_min else { return std::future::pending().await };
        loop {
            let Disk { last, data_dir, .. } = self.disk.clone();
            // A file system of the network may take its time.
            let _ = tokio::task::spawn_blocking(move || last.look(&data_dir, free_min)).await;
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

#[async_trait]
impl Readiness for Operations {
    fn missing(&self) -> Vec<String> {
        let parts = [("browser", self.renderer.as_ref().map(|_| &self.browser)), ("database", Some(&self.database))];
        let is_ill = |part: &Watched| !part.is_well();
        let ill = parts.into_iter().filter(|(_, part)| part.is_some_and(is_ill)).map(|(name, _)| name);
        ill.chain(self.disk.last.is_short().then_some("disk")).map(str::to_owned).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(renderer) = &self.renderer else { return warnings };
        if !self.sandbox {
            warnings.push("Chromium runs without its sandbox (allow_no_sandbox)".to_owned());
        }
        if !renderer.makes_videos() {
            warnings.push(format!("{NO_FFMPEG}: no videos"));
        }
        warnings
    }

    async fn browser(&self) -> Option<String> {
        self.renderer.as_ref()?.product().await
    }
}

#[async_trait]
impl Scrape for Operations {
    async fn metrics(&self) -> String {
        // A database that is away is told by `ready`; the rest can be told all the same.
        let now_ms = self.clock.now_ms();
        let backlog = tokio::time::timeout(BACKLOG_LIMIT, self.queue.backlog(now_ms)).await;
        let waited = |since_ms: Option<u64>| Duration::from_millis(since_ms.map_or(0, |ms| now_ms.saturating_sub(ms)));
        metrics::get().scrape(&Snapshot {
            queue: backlog.ok().and_then(Result::ok).map(|backlog| QueueSnapshot {
                queued: backlog.queued,
                rendering: backlog.rendering,
                oldest_queued: waited(backlog.oldest_queued_ms),
                oldest_ready: waited(backlog.ready_since_ms),
                webhooks_open: backlog.webhooks_open,
            }),
            backend_bytes: resident_bytes().unwrap_or(0),
            browser_bytes: self.renderer.as_ref().map_or(0, |renderer| renderer.memory_mb()) * 1024 * 1024,
            ready: self.missing().is_empty(),
        })
    }
}

/// Of this process.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_failure_is_chance_and_two_are_not() {
        let part = Watched::new(Duration::from_millis(50));
        part.look(async { false }).await;
        assert!(part.is_well());
        part.look(std::future::pending()).await;
        assert!(!part.is_well(), "what does not answer in time has failed");
        part.look(async { true }).await;
        assert!(part.is_well());
        *part.looked.lock().unwrap() = Instant::now().checked_sub(Duration::from_secs(11)).unwrap();
        assert!(!part.is_well(), "an old look is none");
    }
}
