//! One Chromium process: launched, watched, recycled, and ended with everything it started.
//!
//! The process leads its own group, so that killing the group leaves no renderer behind, and has a scratch directory of
//! its own (profile and TMPDIR) that goes with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::browser::{
    BrowserContextId, GetVersionParams, PermissionDescriptor, PermissionSetting, SetDownloadBehaviorBehavior,
    SetDownloadBehaviorParams, SetPermissionParams,
};
use chromiumoxide::cdp::browser_protocol::system_info::GetInfoParams;
use chromiumoxide::cdp::browser_protocol::target::{
    AttachToTargetParams, CreateBrowserContextParams, CreateTargetParams, DisposeBrowserContextParams,
};
use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, mpsc};

use super::canary::{self, CanaryError};
use super::cdp::{Cdp, CdpError, Event, Session};
use super::memory::{self, MemoryLimits};
use super::windows::{Held, Windows};
use crate::egress::EgressProxy;
use crate::fault;

const START_LIMIT: Duration = Duration::from_secs(20);
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// How Chromium is started.
#[derive(Clone, Debug)]
pub struct BrowserSettings {
    pub executable: PathBuf,
    /// Where scratch directories are made.
    pub scratch_parent: PathBuf,
    /// The way out of whatever belongs to no render: nothing does, and it lets nothing through. Each render has its own.
    pub proxy: Arc<EgressProxy>,
    /// Off only by an explicit setting of the operator.
    pub sandbox: bool,
    pub memory: MemoryLimits,
}

/// Why there is no browser.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("Chromium could not be started ({executable}): {source}")]
    Spawn { executable: String, source: std::io::Error },
    #[error("Chromium ended or fell silent before it was ready; it said: {said}")]
    NotReady { said: String },
    #[error("the browser's self-test failed: {0}")]
    Canary(#[from] CanaryError),
}

/// How much of a picture may be on its way to us: as much as Linux grants anybody by default.
const PIPE_BYTES: usize = 1024 * 1024;

/// Beginnings of the names of variables that may hold secrets: of the service, its database, its bucket and its collector.
const SECRET_VARIABLES: [&str; 4] = ["SNAPHOOK_", "PG", "AWS_", "OTEL_"];
/// The name all scratch directories begin with, so that those of a killed service can be found and removed.
const SCRATCH_PREFIX: &str = "snaphook-chromium-";

pub(super) struct Browser {
    cdp: Cdp,
    group: Option<rustix::process::Pid>,
    /// Ends (and reaps) the process when it is dropped with the browser.
    _reaper: tokio::task::JoinHandle<()>,
    /// Kept for its destructor, which removes the directory after the processes are gone.
    scratch: Option<TempDir>,
    /// As `/json/version` would say it.
    pub(super) product: String,
    /// See [`BrowserSettings::proxy`].
    proxy: Arc<EgressProxy>,
    windows: Arc<Windows>,
    /// The ways out of contexts that could not be disposed of: they go with the browser.
    left: Mutex<Vec<Option<EgressProxy>>>,
    started: Instant,
    contexts_made: AtomicU32,
    /// As of the last look.
    memory_mb: Arc<AtomicU64>,
    /// Each open page holds one.
    open: Arc<()>,
    /// Made ahead of need.
    ready: Mutex<Vec<Context>>,
    /// Known once somebody has asked.
    drawn_by_software: OnceCell<bool>,
}

impl Browser {
    /// Starts Chromium, waits until it answers, and sees that it stays inside.
    pub(super) async fn launch(settings: &BrowserSettings) -> Result<Arc<Browser>, LaunchError> {
        let failed = |source: std::io::Error| LaunchError::Spawn {
            executable: settings.executable.display().to_string(),
            source,
        };
        let scratch =
            tempfile::Builder::new().prefix(SCRATCH_PREFIX).tempdir_in(&settings.scratch_parent).map_err(failed)?;
        let (child, cdp) = spawn(settings, scratch.path()).map_err(failed)?;
        let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32));
        let log = scratch.path().join("stderr");
        let mut browser = Browser {
            cdp,
            group,
            _reaper: tokio::spawn(reap(child)),
            scratch: Some(scratch),
            product: String::new(),
            proxy: settings.proxy.clone(),
            started: Instant::now(),
            contexts_made: AtomicU32::new(0),
            memory_mb: Arc::default(),
            open: Arc::default(),
            windows: Arc::default(),
            left: Mutex::default(),
            ready: Mutex::default(),
            drawn_by_software: OnceCell::new(),
        };
        match browser.cdp.browser(GetVersionParams::default(), START_LIMIT).await {
            Ok(version) => browser.product = version.product,
            Err(_) => return Err(LaunchError::NotReady { said: last_words(&log) }),
        }
        if browser.windows.clone().watch(&browser.cdp).await.is_err() {
            return Err(LaunchError::NotReady { said: last_words(&log) });
        }
        let (browser, began) = (Arc::new(browser), Instant::now());
        canary::check(&browser, &settings.proxy).await?;
        tracing::debug!(took_ms = began.elapsed().as_millis(), "the browser stays inside");
        if let Some(group) = browser.group {
            let (memory_mb, open) = (browser.memory_mb.clone(), browser.open.clone());
            tokio::spawn(watch_memory(group, settings.memory, memory_mb, open, browser.cdp.clone()));
        }
        Ok(browser)
    }

    /// Whether the process still listens to us.
    pub(super) fn is_alive(&self) -> bool {
        !self.cdp.is_closed()
    }

    /// Whether it holds a page that could not be ended.
    pub(super) fn holds_leftovers(&self) -> bool {
        !self.left.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// How many contexts it has had, and for how long it has run.
    pub(super) fn wear(&self) -> (u32, Duration) {
        (self.contexts_made.load(Ordering::Relaxed), self.started.elapsed())
    }

    /// What all its processes hold.
    pub(super) fn memory_mb(&self) -> u64 {
        self.memory_mb.load(Ordering::Relaxed)
    }

    pub(super) async fn call<C: chromiumoxide::Command>(&self, command: C) -> Result<C::Response, CdpError> {
        self.cdp.browser(command, COMMAND_LIMIT).await
    }

    /// Whether a page can be made at its address. The full build does not hold such a page as it holds a blank one.
    fn holds_addresses(&self) -> bool {
        self.product.starts_with("HeadlessChrome/")
    }

    /// Makes a fresh, empty browser context with a way out of its own. It goes by the browser's if there is none.
    pub(super) async fn make_context(self: &Arc<Self>, way_out: Option<EgressProxy>) -> Result<Context, CdpError> {
        self.contexts_made.fetch_add(1, Ordering::Relaxed);
        let proxy = way_out.as_ref().unwrap_or(&self.proxy).address;
        let mut context =
            CreateBrowserContextParams::builder().dispose_on_detach(true).proxy_server(proxy.to_string()).build();
        if !fault::is_removed("proxyBypassList") {
            context.proxy_bypass_list = Some("<-loopback>".to_owned());
        }
        let id = self.cdp.browser(context, COMMAND_LIMIT).await?.browser_context_id;
        // If the next fails, the context is disposed of.
        let mut owner = ContextGuard::new(self, Some(id.clone()), way_out);
        let mut deny = SetDownloadBehaviorParams::new(SetDownloadBehaviorBehavior::Deny);
        deny.browser_context_id = Some(id.clone());
        self.cdp.browser(deny, COMMAND_LIMIT).await?;
        owner.context = None;
        Ok(Context { id, way_out: owner.way_out.take() })
    }

    /// Keeps a context for a render that is still to come.
    pub(super) fn keep_ready(&self, context: Context) {
        self.ready().push(context);
    }

    pub(super) fn take_ready(&self) -> Option<Context> {
        self.ready().pop()
    }

    /// How many contexts were made ahead of need.
    pub(super) fn count_ready(&self) -> usize {
        self.ready().len()
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Context>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a page in a context that is used for nothing else. It is held before its first request until it is told to go on;
    /// it is on its way to its address, or has to be led there: where none is given, and in a build that does not hold it.
    pub(super) async fn open_tab(self: &Arc<Self>, context: Context, address: Option<&str>) -> Result<Tab, CdpError> {
        let Context { id: context, way_out } = context;
        let held = self.windows.expect(&context);
        // Whatever fails from here on, the context is disposed of.
        let owner = ContextGuard::new(self, Some(context.clone()), way_out);
        let address = address.filter(|_| self.holds_addresses());
        let is_led = address.is_none();
        let mut target = CreateTargetParams::new(address.unwrap_or("about:blank"));
        target.browser_context_id = Some(context);
        // The pointer is thought to be in the screen's corner. Away from there, no page finds it over itself.
        (target.left, target.top) = (Some(100), Some(100));
        self.cdp.browser(target, COMMAND_LIMIT).await?;
        let held = tokio::time::timeout(COMMAND_LIMIT, held).await.ok().and_then(Result::ok);
        let Held { target, session } = held.ok_or_else(|| CdpError::TimedOut {
            method: "Target.attachedToTarget".to_owned(),
            seconds: COMMAND_LIMIT.as_secs(),
        })?;
        let (session, events) = self.cdp.session(session);
        Ok(Tab { session: Arc::new(session), main_frame: target, is_led, events: Some(events), owner })
    }

    /// A page in the browser's own context, where no render ever is.
    pub(super) async fn open_bare_tab(self: &Arc<Self>) -> Result<Tab, CdpError> {
        let target = self.call(CreateTargetParams::new("about:blank")).await?.target_id;
        let owner = ContextGuard::new(self, None, None);
        let main_frame = target.inner().clone();
        let mut attach = AttachToTargetParams::new(target);
        attach.flatten = Some(true);
        let attached = self.cdp.browser(attach, COMMAND_LIMIT).await?;
        let (session, events) = self.cdp.session(String::from(attached.session_id));
        Ok(Tab { session: Arc::new(session), main_frame, is_led: true, events: Some(events), owner })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        // The group is dying, not dead: its last writes may race with the removal, so that runs a little later.
        if let Some(scratch) = self.scratch.take() {
            std::thread::spawn(move || {
                let path = scratch.keep();
                for _ in 0..50 {
                    if std::fs::remove_dir_all(&path).is_ok() || !path.exists() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                tracing::warn!(path = %path.display(), "a scratch directory could not be removed");
            });
        }
    }
}

/// A browser context in which nothing has been yet. One that is never used goes with its browser.
pub(super) struct Context {
    id: BrowserContextId,
    way_out: Option<EgressProxy>,
}

/// A page in a context of its own. Dropping it disposes of the context and all that is in it.
pub(super) struct Tab {
    pub(super) session: Arc<Session>,
    /// It has the id of its target, for as long as the page lives.
    pub(super) main_frame: String,
    /// Whether it is blank, and has to be led to its address.
    pub(super) is_led: bool,
    events: Option<mpsc::UnboundedReceiver<Event>>,
    owner: ContextGuard,
}

impl Tab {
    /// The page's events; there is one taker.
    pub(super) fn take_events(&mut self) -> Option<mpsc::UnboundedReceiver<Event>> {
        self.events.take()
    }

    /// The way out that this tab was opened with.
    pub(super) fn way_out(&self) -> &EgressProxy {
        self.owner.way_out.as_ref().unwrap_or(&self.owner.browser.proxy)
    }

    /// Whether its pictures are made without graphics hardware, and so without its limits.
    pub(super) async fn is_drawn_by_software(&self) -> Result<bool, CdpError> {
        let browser = &self.owner.browser;
        let ask = async || {
            let status = browser.call(GetInfoParams::default()).await?.gpu.feature_status;
            let compositing = status.as_ref().and_then(|status| status["gpu_compositing"].as_str());
            Ok(compositing == Some("disabled_software"))
        };
        browser.drawn_by_software.get_or_try_init(ask).await.copied()
    }

    /// Lets the pages of this context know where they are.
    pub(super) async fn grant_geolocation(&self) -> Result<(), CdpError> {
        let mut grant = SetPermissionParams::new(PermissionDescriptor::new("geolocation"), PermissionSetting::Granted);
        grant.browser_context_id = self.owner.context.clone();
        self.owner.browser.cdp.browser(grant, COMMAND_LIMIT).await.map(|_| ())
    }

    /// Disposes of the context and waits until it is gone.
    pub(super) async fn close(mut self) {
        if let Some(context) = self.owner.context.take() {
            dispose(&self.owner.browser, context, self.owner.way_out.take()).await;
        }
    }
}

/// Ends a context with all its pages. Its windows stay known until it is gone: one that comes meanwhile is not let go. Nor is
/// its way out closed before: another render may be given the same port.
async fn dispose(browser: &Browser, context: BrowserContextId, way_out: Option<EgressProxy>) {
    match browser.cdp.browser(DisposeBrowserContextParams::new(context.clone()), COMMAND_LIMIT).await {
        Ok(_) => browser.windows.forget(&context),
        Err(error) => {
            if !browser.cdp.is_closed() {
                tracing::warn!(%error, "a browser context was not disposed of");
            }
            browser.left.lock().unwrap_or_else(PoisonError::into_inner).push(way_out);
        }
    }
}

struct ContextGuard {
    browser: Arc<Browser>,
    context: Option<BrowserContextId>,
    /// Goes with the context.
    way_out: Option<EgressProxy>,
    _open: Arc<()>,
}

impl ContextGuard {
    fn new(browser: &Arc<Browser>, context: Option<BrowserContextId>, way_out: Option<EgressProxy>) -> ContextGuard {
        ContextGuard { browser: browser.clone(), context, way_out, _open: browser.open.clone() }
    }
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        if let Some(context) = self.context.take() {
            let (browser, way_out) = (self.browser.clone(), self.way_out.take());
            tokio::spawn(async move { dispose(&browser, context, way_out).await });
        }
    }
}

fn spawn(settings: &BrowserSettings, scratch: &Path) -> std::io::Result<(Child, Cdp)> {
    let temporary = scratch.join("tmp");
    std::fs::create_dir(&temporary)?;
    let log = std::fs::File::create(scratch.join("stderr"))?;
    let (browser_reads, to_browser) = std::io::pipe()?;
    let (from_browser, browser_writes) = std::io::pipe()?;
    // Where the kernel grants it, a picture comes in few pieces. Past a user's share of pipes it does not, and they are more.
    let _ = rustix::pipe::fcntl_setpipe_size(&from_browser, PIPE_BYTES);
    let mut command = Command::new(&settings.executable);
    command
        .args(arguments(settings))
        .arg(format!("--user-data-dir={}", scratch.join("profile").display()))
        .env("TMPDIR", &temporary)
        .env("HOME", scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true);
    // A page that breaks out of its renderer reads what the browser was started with.
    for (name, _) in std::env::vars_os() {
        if SECRET_VARIABLES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
    command
        .fd_mappings(vec![
            FdMapping { parent_fd: browser_reads.into(), child_fd: 3 },
            FdMapping { parent_fd: browser_writes.into(), child_fd: 4 },
        ])
        .map_err(std::io::Error::other)?;
    let child = command.spawn()?;
    // Holds our copies of the browser's ends; they must be closed for its death to be noticed.
    drop(command);
    let to_browser = pipe::Sender::from_owned_fd(to_browser.into())?;
    let from_browser = pipe::Receiver::from_owned_fd(from_browser.into())?;
    Ok((child, Cdp::start(to_browser, from_browser)))
}

fn arguments(settings: &BrowserSettings) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--headless",
        "--remote-debugging-pipe",
        // Nothing but the proxy: no bypass for loopback, no UDP, no name looked up by the browser itself. Each of the two
        // builds reads one spelling of the WebRTC switch and ignores the other.
        "--proxy-bypass-list=<-loopback>",
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--disable-quic",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        // No traffic of its own.
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-default-apps",
        "--disable-extensions",
        "--disable-breakpad",
        "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,AutofillServerCommunication",
        // Pages in the background render like those in front.
        "--disable-backgrounding-occluded-windows",
        "--disable-renderer-backgrounding",
        "--disable-background-timer-throttling",
        // The same picture everywhere.
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        "--font-render-hinting=none",
        "--mute-audio",
        "--disable-dev-shm-usage",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--proxy-server={}", settings.proxy.address));
    arguments.retain(|argument| !fault::is_removed(argument.split('=').next().unwrap_or(argument)));
    if !settings.sandbox {
        arguments.push("--no-sandbox".to_owned());
    }
    arguments
}

/// Looks at the browser's memory for as long as it lives and there are pages in it, and once more after the last.
async fn watch_memory(
    group: rustix::process::Pid,
    limits: MemoryLimits,
    memory_mb: Arc<AtomicU64>,
    open: Arc<()>,
    cdp: Cdp,
) {
    let mut was_busy = true;
    while !cdp.is_closed() {
        tokio::time::sleep(memory::INTERVAL).await;
        // The browser holds one, and this task.
        let is_busy = Arc::strong_count(&open) > 2;
        if is_busy || was_busy {
            let measured = tokio::task::spawn_blocking(move || memory::end_overgrown(group, limits));
            memory_mb.store(measured.await.unwrap_or(0), Ordering::Relaxed);
        }
        was_busy = is_busy;
    }
}

/// Waits for the process, so that it does not stay as a zombie.
async fn reap(mut child: Child) {
    match child.wait().await {
        Ok(status) => tracing::debug!(%status, "Chromium ended"),
        Err(error) => tracing::warn!(%error, "Chromium could not be waited for"),
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    match lines.is_empty() {
        true => "nothing".to_owned(),
        false => lines.into_iter().rev().collect::<Vec<_>>().join(" | "),
    }
}

/// Removes scratch directories that no browser uses: what a service that was killed has left, before the first launch; what
/// dying browsers were still writing, at the end. Gives the number of those that withstood.
pub(super) fn sweep_scratch(parent: &Path) -> usize {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(SCRATCH_PREFIX));
    ours.filter(|entry| std::fs::remove_dir_all(entry.path()).is_err() && entry.path().exists()).count()
}

/// The Chromium to use: the operator's choice, else the first of the usual names. The shell build comes first, as it
/// renders three to four times as many pictures in the same time.
pub fn find_chromium(configured: &str) -> Option<PathBuf> {
    if !configured.is_empty() {
        return Some(PathBuf::from(configured));
    }
    const NAMES: [&str; 6] = [
        "chromium-headless-shell",
        "chrome-headless-shell",
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    let path = std::env::var_os("PATH")?;
    NAMES
        .iter()
        .find_map(|name| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file()))
}
