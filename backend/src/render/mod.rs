//! Pictures, documents and texts by headless Chromium: one browser process, a fresh context for each render.
//!
//! The only module that knows chromiumoxide. It opens no connection itself: the browser's one way out is the egress proxy.

mod blocking;
mod browser;
mod canary;
mod capture;
mod cdp;
mod content;
mod encode;
mod events;
mod markdown;
mod memory;
mod metadata;
mod page;
mod patterns;
mod pdf;
mod video;
mod way_out;
mod windows;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chromiumoxide::cdp::browser_protocol::browser::GetVersionParams;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Medium, Options};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::task::TaskTracker;

use crate::domain::artifact::Artifact;
use crate::domain::failure::Failure;
use crate::domain::ports::Renderer;
use crate::egress::Egress;
use crate::fault;
use crate::metrics::{self, Laps};
pub use blocking::Blocklists;
use browser::{Browser, Context};
pub use browser::{BrowserSettings, LaunchError, find_chromium};
use cdp::CdpError;
pub use memory::MemoryLimits;
use page::Means;
use video::Studio;
pub use video::find_ffmpeg;
pub use way_out::PageTraffic;

/// A browser is replaced after so many contexts (each leaks a little) or so long.
const CONTEXTS_MAX: u32 = 1_000;
const AGE_MAX: Duration = Duration::from_secs(6 * 3600);
/// What is still being closed when the renderer ends gets so long.
const CLOSING_LIMIT: Duration = Duration::from_secs(2);
/// So often in a row a browser may fail to say who it is.
const UNANSWERED_MAX: u32 = 3;

/// Renders with one Chromium, which it starts, replaces and ends.
pub struct ChromiumRenderer {
    settings: BrowserSettings,
    maker: Arc<ContextMaker>,
    means: Means,
    current: Mutex<Option<Arc<Browser>>>,
    /// How often in a row the browser did not answer when it was asked who it is.
    unanswered: AtomicU32,
    /// Pages whose renders are over and that are still being closed.
    closing: TaskTracker,
    /// How many pages may be open at once.
    slots: Arc<Semaphore>,
}

impl ChromiumRenderer {
    /// Sweeps what an earlier process has left in the scratch directory, and starts the first browser.
    pub async fn start(
        settings: BrowserSettings,
        egress: Egress,
        traffic: PageTraffic,
        blocklists: Arc<Blocklists>,
        concurrency: usize,
    ) -> Result<ChromiumRenderer, LaunchError> {
        browser::sweep_scratch(&settings.scratch_parent);
        let first = Browser::launch(&settings).await?;
        metrics::get().browser_started("first");
        tracing::info!(product = first.product, sandbox = settings.sandbox, concurrency, "Chromium is ready");
        let maker = Arc::new(ContextMaker { egress, traffic, ready_max: concurrency });
        let closing = TaskTracker::new();
        let (of_first, browser) = (maker.clone(), first.clone());
        closing.spawn(async move {
            for _ in 0..concurrency {
                of_first.make_ready(&browser).await;
            }
        });
        Ok(ChromiumRenderer {
            means: Means {
                blocklists,
                studio: Studio { ffmpeg: None, scratch: settings.scratch_parent.clone() },
                small_pngs: false,
            },
            settings,
            maker,
            current: Mutex::new(Some(first)),
            unanswered: AtomicU32::new(0),
            closing,
            slots: Arc::new(Semaphore::new(concurrency)),
        })
    }

    /// Lets it make videos with this ffmpeg.
    pub fn with_ffmpeg(mut self, ffmpeg: Option<PathBuf>) -> ChromiumRenderer {
        self.means.studio.ffmpeg = ffmpeg;
        self
    }

    /// Lets it spend four times the processor time on a PNG, for a quarter of its bytes.
    pub fn with_small_pngs(mut self, wanted: bool) -> ChromiumRenderer {
        self.means.small_pngs = wanted;
        self
    }

    /// Whether it can make videos.
    pub fn makes_videos(&self) -> bool {
        self.means.studio.ffmpeg.is_some()
    }

    /// Whether a browser is there, or can be had.
    pub async fn is_ready(&self) -> bool {
        let Ok(browser) = self.browser().await else { return false };
        // A process that is there may yet hang.
        if browser.call(GetVersionParams::default()).await.is_ok() {
            self.unanswered.store(0, Ordering::Relaxed);
            return true;
        }
        if self.unanswered.fetch_add(1, Ordering::Relaxed) + 1 >= UNANSWERED_MAX {
            tracing::error!("the browser does not answer, and is replaced");
            let mut current = self.current.lock().await;
            if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, &browser)) {
                *current = None;
            }
            self.unanswered.store(0, Ordering::Relaxed);
        }
        false
    }

    /// What all processes of the browser held when it was last looked at; 0 while there is none, or one is being started.
    pub fn memory_mb(&self) -> u64 {
        let current = self.current.try_lock().ok();
        current.and_then(|current| current.as_ref().map(|browser| browser.memory_mb())).unwrap_or(0)
    }

    /// The browser's name and version; None while there is none.
    pub async fn product(&self) -> Option<String> {
        self.current.lock().await.as_ref().map(|browser| browser.product.clone())
    }

    /// Ends the browser and removes what it wrote. Renders that are under way fail.
    pub async fn stop(&self) {
        self.slots.close();
        self.closing.close();
        let _ = tokio::time::timeout(CLOSING_LIMIT, self.closing.wait()).await;
        self.current.lock().await.take();
        let parent = self.settings.scratch_parent.clone();
        let swept = tokio::task::spawn_blocking(move || {
            // Killed is not dead: its last writes may still come, for a moment.
            for _ in 0..50 {
                if browser::sweep_scratch(&parent) == 0 {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            tracing::warn!(path = %parent.display(), "scratch directories could not be removed");
        });
        let _ = swept.await;
    }

    /// The browser to use now. One that died or is worn out is replaced; pages still open in it finish there.
    async fn browser(&self) -> Result<Arc<Browser>, Failure> {
        let mut current = self.current.lock().await;
        let mut reason = "first";
        if let Some(browser) = current.as_ref() {
            let (contexts, age) = browser.wear();
            let memory_mb = browser.memory_mb();
            let is_worn = contexts >= CONTEXTS_MAX
                || age >= AGE_MAX
                || memory_mb > self.settings.memory.browser_mb
                || browser.holds_leftovers();
            if browser.is_alive() && !is_worn {
                return Ok(browser.clone());
            }
            reason = if !browser.is_alive() {
                "died"
            } else if contexts >= CONTEXTS_MAX {
                "contexts"
            } else if age >= AGE_MAX {
                "age"
            } else if browser.holds_leftovers() {
                "leftovers"
            } else {
                "memory"
            };
            tracing::info!(alive = browser.is_alive(), contexts, memory_mb, "replacing the browser");
        }
        let launched = Browser::launch(&self.settings).await;
        let browser = launched.map_err(|error| of_launch(&error))?;
        metrics::get().browser_started(reason);
        *current = Some(browser.clone());
        Ok(browser)
    }
}

/// Makes contexts, each with a way out of its own.
struct ContextMaker {
    egress: Egress,
    traffic: PageTraffic,
    /// How many are made ahead of need.
    ready_max: usize,
}

impl ContextMaker {
    /// With the way out that the options ask for; without any, everybody's.
    async fn make(&self, browser: &Arc<Browser>, options: Option<&Options>) -> Result<Context, Failure> {
        let way_out = way_out::open(&self.egress, &self.traffic, options).await?;
        browser.make_context(Some(way_out)).await.map_err(of_opening)
    }

    /// Makes one for a render that is still to come, unless there are enough.
    async fn make_ready(&self, browser: &Arc<Browser>) {
        if browser.count_ready() >= self.ready_max {
            return;
        }
        match self.make(browser, None).await {
            Ok(context) => browser.keep_ready(context),
            // The next render makes its own, or says why it cannot.
            Err(failure) => tracing::debug!(%failure, "no context was made ahead"),
        }
    }
}

/// The page is still held: nothing of the request has run in the browser.
fn of_opening(error: CdpError) -> Failure {
    match error {
        CdpError::Disconnected | CdpError::TimedOut { .. } => {
            Failure::of_ours(Code::InternalApplicationError, error.to_string())
        }
        error => Failure::internal(error.to_string()),
    }
}

fn stopped() -> Failure {
    Failure::of_ours(Code::InternalApplicationError, "the renderer is stopped")
}

/// No request is to blame for it.
fn of_launch(error: &LaunchError) -> Failure {
    Failure::of_ours(Code::InternalApplicationError, error.to_string())
}

#[async_trait]
impl Renderer for ChromiumRenderer {
    async fn render(&self, options: &Options, deadline: Instant) -> Result<Artifact, Failure> {
        let result = self.render_once(options, deadline).await;
        let medium = match options.medium() {
            Medium::Image => "image",
            Medium::Document => "document",
            Medium::Text => "text",
            Medium::Video => "video",
        };
        let outcome = result.as_ref().map_or_else(|failure| failure.problem.code.entry().name, |_| "done");
        metrics::get().rendered(medium, outcome);
        result
    }
}

impl ChromiumRenderer {
    async fn render_once(&self, options: &Options, deadline: Instant) -> Result<Artifact, Failure> {
        let mut laps = Laps::start();
        let late = |_| Failure::of_ours(Code::TimeoutError, "no browser was free within the deadline");
        let slot = tokio::time::timeout_at(deadline.into(), self.slots.clone().acquire_owned()).await.map_err(late)?;
        let slot = slot.map_err(|_| stopped())?;
        laps.end("wait");
        way_out::check_target(&self.maker.egress, options).await?;
        let began = Instant::now();
        let opening = async {
            let browser = self.browser().await?;
            let ready = if way_out::is_own(options) { None } else { browser.take_ready() };
            let context = match ready {
                Some(context) => context,
                None => self.maker.make(&browser, Some(options)).await?,
            };
            let tab = browser.open_tab(context, page::birthplace(options)).await.map_err(of_opening)?;
            Ok::<_, Failure>((browser, tab))
        };
        let (browser, mut tab) = tokio::time::timeout_at(deadline.into(), opening).await.map_err(late)??;
        laps.end("open");
        fault::point("during-render");
        let result = page::render(&mut tab, options, &self.means, deadline).await;
        let refused = way_out::refused(tab.way_out());
        way_out::count(tab.way_out(), began);
        if !refused.is_empty() {
            tracing::info!(targets = refused.len(), ?refused, "the page was refused connections");
        }
        let result = result
            .map(|artifact| Artifact { refused: refused.clone(), ..artifact })
            .map_err(|failure| way_out::explain(failure, options, tab.way_out(), began))
            .map_err(|failure| Failure { refused, ..failure });
        // Nobody waits for the end of what is no longer needed but who wants its place.
        let maker = self.maker.clone();
        self.closing.spawn(async move {
            tab.close().await;
            drop(slot);
            maker.make_ready(&browser).await;
        });
        result
    }
}
