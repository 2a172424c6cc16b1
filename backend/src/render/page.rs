//! The life of one page: prepare, open, wait, change, capture. It never outlives its deadline.

mod preparation;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::fetch::EnableParams as FetchEnableParams;
use chromiumoxide::cdp::browser_protocol::input::{DispatchMouseEventParams, DispatchMouseEventType};
use chromiumoxide::cdp::browser_protocol::page::NavigateParams;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Medium, Options, WaitUntil};
use snaphook_shared::signing::SecretKey;
use snaphook_shared::target::{NativeUrlParser, ParseUrl};
use tokio::sync::mpsc;

use super::blocking::Blocklists;
use super::browser::Tab;
use super::cdp::{CdpError, Event, Session};
use super::events::{MainResponse, Opened, PageState, Watcher};
use super::video::{self, Studio};
use super::{blocking, capture, content, metadata, pdf};
use crate::domain::artifact::Artifact;
use crate::domain::failure::Failure;
use crate::metrics::Laps;

/// Chromium's word for a navigation that was given up.
const ABORTED: &str = "net::ERR_ABORTED";
/// The origin of HTML that has no address of its own. `.invalid` never resolves, so nothing else can live there.
const HTML_ADDRESS: &str = "https://html.snaphook.invalid/";
/// No request for this long is what "idle" means (the vendors' and Puppeteer's figure).
const IDLE_FOR: Duration = Duration::from_millis(500);
/// Web fonts may keep the picture waiting for so long and no longer.
const FONTS_LIMIT: Duration = Duration::from_secs(3);
/// What is left of a document that broke off gets so long to be taken for all of it.
const BROKEN_OFF_LIMIT: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);

/// How long a script's departure may take to be noticed.
const DEPARTURE_LIMIT: Duration = Duration::from_millis(100);
/// For the search for consent banners, so that it costs less than the picture.
const BANNERS_MS: u32 = 1_500;

/// Expression of the function that all others find elements with.
pub(super) const FIND: &str = include_str!("js/find.js");
const HIDE: &str = include_str!("js/hide.js");
const NAMES: &str = include_str!("js/names.js");
const DISMISS_BANNERS: &str = include_str!("js/dismiss_banners.js");
const HOVER_POINT: &str = include_str!("js/hover_point.js");
const SCROLL_TO: &str = include_str!("js/scroll_to.js");
const STOP_MOTION: &str = include_str!("js/stop_motion.js");
pub(super) const HIDE_AND_STYLE: &str = include_str!("js/style.js");
const SCROLL_THROUGH: &str = include_str!("js/scroll_through.js");
const FONTS_READY: &str = include_str!("js/fonts_ready.js");

/// What all renders share.
pub(super) struct Means {
    pub(super) blocklists: Arc<Blocklists>,
    pub(super) studio: Studio,
    /// Whether Chromium makes its PNGs small rather than fast.
    pub(super) small_pngs: bool,
}

/// Renders what the options ask for on a fresh tab.
///
/// # Errors
/// A [`Failure`] with the code for the caller and the cause for the log. `timeout_error` when the deadline passes.
pub(super) async fn render(
    tab: &mut Tab,
    options: &Options,
    means: &Means,
    deadline: Instant,
) -> Result<Artifact, Failure> {
    let late = || Failure::new(Code::TimeoutError, "the render's deadline passed");
    let events = tab.take_events().ok_or_else(|| Failure::internal("the tab has been used before"))?;
    let interception = preparation::interception(options, tab.main_frame.clone(), means.blocklists.clone())?;
    let intercept = interception.enable();
    let watcher = Watcher::start(tab.session.clone(), events, interception);
    let opened = Opened { frame: tab.main_frame.clone(), ..Opened::default() };
    let tab = &*tab;
    let mut page = Page { tab, session: tab.session.clone(), watcher, options, means, deadline, opened };
    let located = options.emulation.geolocation.latitude.is_some();
    let mut laps = Laps::start();
    let work = async {
        if located {
            tab.grant_geolocation().await.map_err(failure)?;
        }
        page.open(intercept).await?;
        page.wait().await?;
        page.turn_to_paper().await?;
        laps.end("load");
        page.block().await?;
        page.change().await?;
        page.check_content().await?;
        page.settle().await?;
        page.check_requests()?;
        let content = metadata::content(&page).await?;
        let metadata = metadata::gather(&page).await?;
        laps.end("prepare");
        let mut artifact = match options.medium() {
            Medium::Image => capture::take(&page).await?,
            Medium::Document => pdf::print(&page).await?,
            Medium::Text => content::read(&page).await?,
            Medium::Video => video::record(&mut page, &means.studio).await?,
        };
        laps.end("capture");
        artifact.metadata = metadata;
        if options.metadata.hash {
            artifact.metadata.hash = Some(snaphook_shared::signing::sha256_hex(&artifact.bytes));
        }
        artifact.content = content;
        Ok(artifact)
    };
    tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| Err(late()))
}

/// A command that was sent; resolves when it has been obeyed.
type Order = BoxFuture<'static, Result<(), Failure>>;

pub(super) struct Page<'a> {
    tab: &'a Tab,
    session: Arc<Session>,
    watcher: Watcher,
    pub(super) options: &'a Options,
    pub(super) means: &'a Means,
    deadline: Instant,
    opened: Opened,
}

impl Page<'_> {
    /// Sends a command within the time that is left.
    pub(super) fn call<C: chromiumoxide::Command>(
        &self,
        command: C,
    ) -> impl Future<Output = Result<C::Response, Failure>> + use<C> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.session.call(command, left).map_err(failure)
    }

    /// Sends a command whose answer says nothing but that it was obeyed.
    fn order<C: chromiumoxide::Command + 'static>(&self, command: C) -> Order
    where
        C::Response: Send,
    {
        self.call(command).map_ok(|_| ()).boxed()
    }

    /// As [`Page::order`], for a command that Chromium refuses only if the caller's value is wrong. A page that is gone or late
    /// says nothing about that.
    fn order_or<C: chromiumoxide::Command + 'static>(
        &self,
        command: C,
        refused: impl FnOnce() -> Failure + Send + 'static,
    ) -> Order
    where
        C::Response: Send,
    {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let judge = |error| match error {
            CdpError::Refused { .. } => refused(),
            other => failure(other),
        };
        self.session.call(command, left).map_ok(|_| ()).map_err(judge).boxed()
    }

    /// Evaluates JavaScript in the page, promises awaited, and reads its value.
    pub(super) async fn evaluate<T: DeserializeOwned>(&self, script: impl Into<String>) -> Result<T, Failure> {
        let mut evaluate = EvaluateParams::new(script);
        evaluate.return_by_value = Some(true);
        evaluate.await_promise = Some(true);
        let returned = self.call(evaluate).await?;
        if let Some(thrown) = returned.exception_details {
            let text = thrown.exception.and_then(|exception| exception.description).unwrap_or(thrown.text);
            return Err(Failure::new(Code::InternalApplicationError, format!("JavaScript in the page failed: {text}")));
        }
        let value = returned.result.value.unwrap_or(serde_json::Value::Null);
        serde_json::from_value(value)
            .map_err(|error| Failure::internal(format!("unexpected value from the page: {error}")))
    }

    /// What the page's host answered last.
    pub(super) fn main_response(&self) -> Option<MainResponse> {
        self.watcher.now().main
    }

    /// See [`Tab::is_drawn_by_software`].
    pub(super) async fn is_drawn_by_software(&self) -> Result<bool, Failure> {
        self.tab.is_drawn_by_software().await.map_err(failure)
    }

    fn address(&self) -> &str {
        address(self.options)
    }

    /// Prepares the page and lets it begin, and judges the host's answer.
    async fn open(&mut self, intercept: Option<FetchEnableParams>) -> Result<(), Failure> {
        let orders = self.prepare(intercept)?;
        if self.tab.is_led {
            futures::future::try_join_all(orders).await?;
            self.navigate(address(self.options)).await?;
        } else {
            self.begin(orders).await?;
        }
        if self.options.source.url.is_none() {
            return Ok(());
        }
        let seen = self.watcher.until(|state| state.main.is_some()).await;
        if seen.crashed {
            return Err(crashed());
        }
        let Some(main) = seen.main else { return Ok(()) };
        judge_egress(&main)?;
        if (200..300).contains(&main.status) || self.options.fail.ignore_host_errors {
            return Ok(());
        }
        let code = match main.status {
            401 => Code::HostRequiresAuthentication,
            _ => Code::HostReturnedError,
        };
        let mut failure = Failure::new(code, format!("the host answered {}", main.status));
        failure.problem.returned_status_code = Some(main.status);
        Err(failure)
    }

    /// Sees a page that was made at its address through to its document.
    async fn begin(&mut self, orders: Vec<Order>) -> Result<(), Failure> {
        let opening = async {
            futures::future::try_join_all(orders).await?;
            Ok(self.watcher.until(|state| state.opening().is_some()).await)
        };
        let opened =
            tokio::time::timeout(navigation_limit(self.options), opening).await.map_err(|_| unanswered())??;
        if opened.opening() == Some(Err(ABORTED)) {
            self.still_there().await?;
        }
        match opened.opening() {
            Some(Ok(loader)) => self.opened.loader = loader.to_owned(),
            // What has no page to show, and is said to have one, is there to be kept.
            Some(Err(ABORTED)) if opened.main.as_ref().is_some_and(|main| ![204, 205].contains(&main.status)) => {
                return Err(download());
            }
            // The proxy's own refusal of a plain request is a document, and is judged below; this is all the rest.
            Some(Err(error)) => return Err(navigation_failure(error)),
            None => return Err(crashed()),
        }
        Ok(())
    }

    async fn navigate(&mut self, address: &str) -> Result<(), Failure> {
        // What we tell the browser to open it opens, `file:` and its own pages too; a page may have had a say in the address.
        let address = web_address(address).ok_or_else(|| Failure::new(Code::TargetNotAllowed, "not a web address"))?;
        let navigate = self.call(NavigateParams::new(address));
        let navigated =
            tokio::time::timeout(navigation_limit(self.options), navigate).await.map_err(|_| unanswered())??;
        if navigated.is_download == Some(true) {
            return Err(download());
        }
        if let Some(error) = navigated.error_text.filter(|text| !text.is_empty()) {
            if error == ABORTED {
                self.still_there().await?;
            }
            return Err(navigation_failure(&error));
        }
        let loader = navigated.loader_id.ok_or_else(|| Failure::internal("the navigation opened no document"))?;
        self.opened = Opened { frame: navigated.frame_id.into(), loader: loader.into() };
        Ok(())
    }

    /// A page whose process ends on its way to a document is said to have given up, as one that was led to a download is; the
    /// word that it crashed comes after that. Only one that is there answers.
    async fn still_there(&mut self) -> Result<(), Failure> {
        let answer = self.call(EvaluateParams::new("0"));
        tokio::select! {
            _ = self.watcher.until(|_| false) => Err(crashed()),
            answer = answer => answer.map(drop),
        }
    }

    /// Goes to another page as a visitor does who follows a link: whatever status it answers is shown. What was to be kept
    /// out or hidden is so there too.
    pub(super) async fn leave_for(&mut self, address: &str) -> Result<(), Failure> {
        self.navigate(address).await?;
        self.wait_for(&[WaitUntil::DomContentLoaded]).await?;
        self.main_response().map_or(Ok(()), |main| judge_egress(&main))?;
        self.block().await?;
        self.restyle().await
    }

    /// The session, for what is called beside the page's own course.
    pub(super) fn session(&self) -> Arc<Session> {
        self.session.clone()
    }

    /// The frames of a recording of this page; there is one taker.
    pub(super) fn take_frames(&mut self) -> Option<mpsc::UnboundedReceiver<Event>> {
        self.watcher.take_frames()
    }

    /// Waits for every event that was asked for, the selector, and the delay.
    async fn wait(&mut self) -> Result<(), Failure> {
        self.wait_for(&self.options.wait.until.clone()).await?;
        if let Some(selector) = &self.options.wait.for_selector {
            let wanted = if self.options.wait.for_selector_by_count { parts(selector) } else { 1 };
            let script = format!("({FIND})({}).length >= {wanted}", json(selector));
            while !self.evaluate::<bool>(script.clone()).await.map_err(|failure| failure.blame("wait_for_selector"))? {
                tokio::time::sleep(POLL).await;
            }
        }
        if self.options.wait.delay_s > 0 {
            tokio::time::sleep(Duration::from_secs(u64::from(self.options.wait.delay_s))).await;
        }
        // The page may have led itself to where it could not have been opened.
        self.main_response().map_or(Ok(()), |main| judge_egress(&main))
    }

    async fn wait_for(&mut self, events: &[WaitUntil]) -> Result<(), Failure> {
        for event in events {
            match event {
                WaitUntil::Load => self.wait_load().await,
                WaitUntil::DomContentLoaded => self.wait_event("DOMContentLoaded").await,
                WaitUntil::NetworkIdle0 => self.wait_idle(0).await,
                WaitUntil::NetworkIdle2 => self.wait_idle(2).await,
            }?;
        }
        Ok(())
    }

    /// Keeps out what the block lists know by its looks, and gets rid of banners.
    async fn block(&self) -> Result<(), Failure> {
        let wanted = &self.options.blocking;
        if blocking::wants_lists(wanted) {
            let names: Names = self.evaluate(format!("({NAMES})()")).await?;
            let hidden = self.means.blocklists.hidden(wanted, self.address(), &names.classes, &names.ids);
            if !hidden.is_empty() {
                let selectors = serde_json::to_string(&hidden).unwrap_or_else(|_| "[]".to_owned());
                self.evaluate::<serde_json::Value>(format!("({HIDE})({selectors})")).await?;
            }
        }
        if wanted.cookie_banners || wanted.banners_by_heuristics {
            let script = format!("({DISMISS_BANNERS})({}, {BANNERS_MS})", wanted.banners_by_heuristics);
            let search = self.evaluate::<serde_json::Value>(script);
            // A page can slow its own scripts down; the picture does not wait for them. If it broke the search, it keeps
            // its banner.
            match tokio::time::timeout(Duration::from_millis(u64::from(BANNERS_MS) + 500), search).await {
                Ok(Err(failure)) if failure.problem.code == Code::PageCrashed => return Err(failure),
                Ok(Ok(outcome)) => tracing::debug!(%outcome, "banners"),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether a request failed that must not.
    fn check_requests(&self) -> Result<(), Failure> {
        match self.watcher.now().failed_request {
            Some(url) => Err(Failure::new(Code::MatchedFailedRequest, format!("{url} failed"))),
            None => Ok(()),
        }
    }

    /// Runs the caller's script. It may lead the page elsewhere only if it was said what to wait for there.
    async fn run_script(&mut self, script: &str) -> Result<(), Failure> {
        let before = self.watcher.now();
        // The script is the caller's, and so are its errors: they are no reason to withhold the picture.
        let mut evaluate = EvaluateParams::new(script);
        evaluate.await_promise = Some(true);
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.session.call(evaluate, left).await {
            // The page went while its script was waited for.
            Ok(_) | Err(CdpError::Refused { .. }) => {}
            Err(error) => return Err(failure(error)),
        }
        let departed = self.watcher.until(|state| state.departures > before.departures);
        let departed = tokio::time::timeout(DEPARTURE_LIMIT, departed).await;
        let events = self.options.page.scripts_wait_until.clone();
        if departed.is_ok() {
            if events.is_empty() {
                return Err(Failure::new(Code::ScriptTriggersRedirect, "the script led the page elsewhere"));
            }
            let frame = &self.opened.frame;
            let earlier = before.current(frame);
            if self.watcher.until(|state| state.current(frame) != earlier).await.crashed {
                return Err(crashed());
            }
        }
        self.wait_for(&events).await?;
        self.main_response().map_or(Ok(()), |main| judge_egress(&main))
    }

    /// Puts the pointer on an element, as a hand would.
    async fn hover(&self, selector: &str) -> Result<(), Failure> {
        let script = format!("({HOVER_POINT})({FIND}, {})", json(selector));
        let point: Option<Point> = self.evaluate(script).await.map_err(|failure| failure.blame("hover"))?;
        match point {
            Some(Point { x, y }) => {
                let moved = DispatchMouseEventParams::new(DispatchMouseEventType::MouseMoved, x, y);
                self.call(moved).await?;
                // One frame, for what the page shows then.
                self.evaluate::<serde_json::Value>("new Promise((resolve) => requestAnimationFrame(() => resolve()))")
                    .await
                    .map(|_| ())
            }
            None if self.options.page.error_on_hover_selector_not_found => {
                Err(Failure::new(Code::SelectorNotFound, "nothing to hover"))
            }
            None => Ok(()),
        }
    }

    async fn wait_event(&mut self, event: &str) -> Result<(), Failure> {
        let opened = self.opened.clone();
        let reached = |state: &PageState| state.reached(&opened, event);
        let ended = self.watcher.until(|state| reached(state) || state.stopped(&opened).is_some()).await;
        match ended.stopped(&opened) {
            _ if ended.crashed => Err(crashed()),
            // Chromium takes some breaks for an end, and its events may come a little later.
            Some(reason) if !reached(&ended) => {
                match tokio::time::timeout(BROKEN_OFF_LIMIT, self.watcher.until(reached)).await {
                    Ok(state) if state.crashed => Err(crashed()),
                    Ok(_) => Ok(()),
                    Err(_) => reason.map_or(Ok(()), |reason| Err(broken_off(reason))),
                }
            }
            _ => Ok(()),
        }
    }

    /// A page is not held up by fonts that do not come: after as long as browsers hide text for their sake, it is as good as
    /// loaded. What else is missing is waited for.
    async fn wait_load(&mut self) -> Result<(), Failure> {
        let opened = self.opened.clone();
        loop {
            if let Ok(loaded) = tokio::time::timeout(FONTS_LIMIT, self.wait_event("load")).await {
                return loaded;
            }
            let state = self.watcher.now();
            let fonts_alone = state.fonts_alone_for().is_some_and(|alone| alone >= FONTS_LIMIT);
            if fonts_alone && state.reached(&opened, "DOMContentLoaded") {
                return if state.crashed { Err(crashed()) } else { Ok(()) };
            }
        }
    }

    async fn wait_idle(&mut self, connections: usize) -> Result<(), Failure> {
        self.wait_event("DOMContentLoaded").await?;
        loop {
            let state = self.watcher.now();
            if state.crashed {
                return Err(crashed());
            }
            if state.quiet_for(connections).is_some_and(|quiet| quiet >= IDLE_FOR) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn restyle(&self) -> Result<(), Failure> {
        let page = &self.options.page;
        if page.styles.is_some() || !page.hide_selectors.is_empty() {
            let styles = json(page.styles.as_deref().unwrap_or_default());
            let selectors = list(&page.hide_selectors);
            self.evaluate::<serde_json::Value>(format!("({HIDE_AND_STYLE})({styles}, {selectors})")).await?;
        }
        Ok(())
    }

    /// What the caller wants different: styles, hidden elements, scripts, a click.
    async fn change(&mut self) -> Result<(), Failure> {
        self.restyle().await?;
        let page = &self.options.page;
        if let Some(script) = &page.scripts {
            self.run_script(script).await?;
        }
        if let Some(selector) = &page.click {
            let script =
                format!("(() => {{ const e = ({FIND})({})[0]; if (e) e.click(); return !!e; }})()", json(selector));
            let clicked: bool = self.evaluate(script).await.map_err(|failure| failure.blame("click"))?;
            if !clicked && page.error_on_click_selector_not_found {
                return Err(Failure::new(Code::SelectorNotFound, "nothing to click"));
            }
        }
        if let Some(selector) = &page.hover {
            self.hover(selector).await?;
        }
        Ok(())
    }

    async fn check_content(&self) -> Result<(), Failure> {
        let conditions = &self.options.fail;
        if conditions.content_contains.is_empty() && conditions.content_missing.is_empty() {
            return Ok(());
        }
        let text: String = self.evaluate("document.documentElement ? document.documentElement.innerText : ''").await?;
        let text = text.to_lowercase();
        if conditions.content_contains.iter().any(|needle| text.contains(&needle.to_lowercase())) {
            return Err(Failure::new(Code::ContentContainsSpecifiedString, "a text that must not be there is"));
        }
        if conditions.content_missing.iter().any(|needle| !text.contains(&needle.to_lowercase())) {
            return Err(Failure::new(Code::ContentMissingSpecifiedString, "a text that must be there is not"));
        }
        Ok(())
    }

    /// The last things before the picture: lazy parts of a full page, fonts.
    async fn settle(&self) -> Result<(), Failure> {
        if self.options.source.without_javascript {
            // Neither frames nor timers come to our scripts then, and a wait for them would only end by its limit.
            return Ok(());
        }
        let capture = &self.options.capture;
        if capture.full_page && capture.full_page_scroll != Some(false) {
            let step = capture.full_page_scroll_by.unwrap_or(self.options.viewport.height);
            let script = format!(
                "({SCROLL_THROUGH})({step}, {}, {})",
                capture.full_page_scroll_delay_ms,
                capture.full_page_max_height.unwrap_or(capture::HEIGHT_PIXELS_MAX),
            );
            self.evaluate::<serde_json::Value>(script).await?;
        }
        let fonts = self.evaluate::<serde_json::Value>(FONTS_READY);
        match tokio::time::timeout(FONTS_LIMIT, fonts).await {
            Ok(Err(failure)) if failure.problem.code == Code::PageCrashed => return Err(failure),
            _ => {}
        }
        if let Some(selector) = &capture.scroll_into_view {
            let script = format!("({SCROLL_TO})({FIND}, {}, {})", json(selector), capture.scroll_into_view_adjust_top);
            let found: bool = self.evaluate(script).await.map_err(|failure| failure.blame("scroll_into_view"))?;
            if !found && capture.error_on_selector_not_found {
                return Err(Failure::new(Code::SelectorNotFound, "nothing to scroll to"));
            }
        }
        if self.options.emulation.reduce_motion {
            self.evaluate::<serde_json::Value>(format!("({STOP_MOTION})()")).await?;
        }
        Ok(())
    }
}

/// The classes and ids of a page.
#[derive(Deserialize)]
struct Names {
    classes: Vec<String>,
    ids: Vec<String>,
}

#[derive(Deserialize)]
struct Point {
    x: f64,
    y: f64,
}

/// How many comma-separated parts a selector has; a comma in brackets or quotes separates nothing.
fn parts(selector: &str) -> usize {
    let (mut depth, mut quote, mut count) = (0_usize, None, 1);
    let mut characters = selector.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => {
                characters.next();
            }
            (_, Some(end)) if character == end => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(character),
            ('(' | '[', None) => depth += 1,
            (')' | ']', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => count += 1,
            _ => {}
        }
    }
    count
}

/// An answer that is the egress proxy's own says why there is none of the host.
fn judge_egress(main: &MainResponse) -> Result<(), Failure> {
    match main.egress.as_deref() {
        Some("refused") => Err(Failure::new(Code::TargetNotAllowed, "the egress proxy refused the page")),
        Some("name-not-resolved") => Err(Failure::new(Code::NameNotResolved, "the name was not resolved")),
        Some(other) => Err(Failure::new(Code::NetworkError, format!("egress: {other}"))),
        None => Ok(()),
    }
}

/// A text as a JavaScript literal.
pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Texts as a JavaScript array.
pub(super) fn list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

/// Where the page is to be found.
pub(super) fn address(options: &Options) -> &str {
    options.source.url.as_deref().unwrap_or(HTML_ADDRESS)
}

/// Where the page can be created at once; None where it has to be blank first and then be led to its address. What a page is
/// made of while it is held does not always outlive its beginning: the scale of a phone and the media that it is shown on
/// were seen to be lost, and frames of a recording to be another page's.
pub(super) fn birthplace(options: &Options) -> Option<&str> {
    let (emulation, network) = (&options.emulation, &options.network);
    let is_plain = options.medium() != Medium::Video
        && !(options.viewport.mobile || options.viewport.touch)
        && emulation.media_type.is_none()
        && emulation.dark_mode.is_none()
        && emulation.reduced_motion.is_none()
        && !emulation.reduce_motion
        && emulation.vision_deficiency.is_none()
        && !options.source.without_javascript
        && !network.bypass_csp
        && network.user_agent.is_none()
        && !options.output.omit_background
        && !options.blocking.resources.iter().any(|name| name == "websocket");
    // What Chromium may refuse ends the render before anybody was asked for anything.
    let is_language = |header: &SecretKey| {
        header.expose().split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("accept-language"))
    };
    let may_be_refused = !network.cookies.is_empty()
        || emulation.time_zone.as_deref().is_some_and(|zone| zone != "GMT")
        || network.headers.iter().any(is_language);
    (is_plain && !may_be_refused).then(|| address(options))
}

/// An address of the web, as the browser writes it; None for whatever else there is.
pub(super) fn web_address(address: &str) -> Option<String> {
    let parts = NativeUrlParser.parse(address)?;
    ["http", "https"].contains(&parts.scheme.as_str()).then_some(parts.serialized)
}

fn navigation_limit(options: &Options) -> Duration {
    Duration::from_secs(u64::from(options.wait.navigation_timeout_s.max(1)))
}

fn unanswered() -> Failure {
    Failure::new(Code::TimeoutError, "the host did not answer within the navigation timeout")
}

fn download() -> Failure {
    Failure::invalid("url", "\"url\" leads to a download, and not to a page")
}

fn crashed() -> Failure {
    Failure::retryable(Code::PageCrashed, "the page's process crashed")
}

pub(super) fn failure(error: CdpError) -> Failure {
    match error {
        CdpError::Crashed => crashed(),
        CdpError::TimedOut { .. } => Failure::new(Code::TimeoutError, error.to_string()),
        CdpError::Disconnected => Failure::lost_browser(error.to_string()),
        CdpError::Refused { .. } | CdpError::Malformed { .. } => {
            Failure::retryable(Code::InternalApplicationError, error.to_string())
        }
    }
}

fn broken_off(reason: &str) -> Failure {
    Failure::new(Code::NetworkError, format!("the document broke off: {reason}"))
}

/// Chromium's words for a navigation that led nowhere.
fn navigation_failure(error: &str) -> Failure {
    let code = match error {
        "net::ERR_NAME_NOT_RESOLVED" => Code::NameNotResolved,
        "net::ERR_TIMED_OUT" | "net::ERR_CONNECTION_TIMED_OUT" => Code::TimeoutError,
        "net::ERR_UNSAFE_REDIRECT" | "net::ERR_UNSAFE_PORT" | "net::ERR_DISALLOWED_URL_SCHEME" => {
            Code::TargetNotAllowed
        }
        _ => Code::NetworkError,
    };
    Failure::new(code, error)
}
