//! The life of one page: prepare, open, wait, change, capture. It never outlives its deadline.

mod changes;
mod conditions;
mod opening;
mod preparation;
mod waiting;

use std::sync::Arc;
use std::time::Instant;

use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use futures::future::{BoxFuture, FutureExt, TryFutureExt};
use serde::de::DeserializeOwned;
use snaphook_shared::code::Code;
use snaphook_shared::options::model::{Medium, Options};
use tokio::sync::mpsc;

use super::blocking::Blocklists;
use super::browser::Tab;
use super::cdp::{CdpError, Event, Session};
use super::events::{MainResponse, Opened, Watcher};
use super::video::{self, Studio};
use super::{capture, content, metadata, pdf};
use crate::domain::artifact::Artifact;
use crate::domain::failure::Failure;
use crate::metrics::Laps;
pub(super) use opening::{address, birthplace, web_address};

/// Expression of the function that all others find elements with.
pub(super) const FIND: &str = include_str!("../js/find.js");
pub(super) const HIDE_AND_STYLE: &str = include_str!("../js/style.js");

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

    /// The session, for what is called beside the page's own course.
    pub(super) fn session(&self) -> Arc<Session> {
        self.session.clone()
    }

    /// The frames of a recording of this page; there is one taker.
    pub(super) fn take_frames(&mut self) -> Option<mpsc::UnboundedReceiver<Event>> {
        self.watcher.take_frames()
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
