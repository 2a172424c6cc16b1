//! What a page has been through, gathered from its events while commands are on their way.
//!
//! A task of its own reads the events, since some of them must be answered at once: a dialog blocks everything else until
//! it is dismissed, a paused request blocks the page, and a popup takes memory until it is closed.
//!
//! Events are read into structures of the few fields that matter here: a browser that is newer than the protocol
//! definitions may say things in the others that those refuse.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EnableParams as FetchEnableParams, EventRequestPaused, FailRequestParams,
    FulfillRequestParams, HeaderEntry, RequestPattern,
};
use chromiumoxide::cdp::browser_protocol::network::{EnableParams as NetworkEnableParams, ErrorReason, ResourceType};
use chromiumoxide::cdp::browser_protocol::page::{CloseParams, HandleJavaScriptDialogParams};
use chromiumoxide::cdp::browser_protocol::target::SetAutoAttachParams;
use chromiumoxide::cdp::js_protocol::runtime::RunIfWaitingForDebuggerParams;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde::Deserialize;
use snaphook_shared::options::model::Blocking;
use tokio::sync::{mpsc, watch};

use super::blocking::{self, Blocklists};
use super::cdp::{Event, Session};
use super::patterns::UrlPattern;
use crate::egress::MARKER;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What is known of a page. Waits look at it until it is as they want it.
#[derive(Clone, Debug)]
pub(super) struct PageState {
    /// The current document of each frame.
    documents: HashMap<String, Document>,
    /// Loaders of all documents that have begun.
    begun: HashSet<String>,
    /// The loader of the first document that was asked for in the main frame: the page's own.
    first: Option<String>,
    /// Why that document did not come, in Chromium's words.
    not_opened: Option<String>,
    /// Loaders of documents of which nothing more comes: why they broke off, in Chromium's words; None for those that loaded or
    /// stopped themselves.
    stopped: HashMap<String, Option<String>>,
    /// The main document's answer; that of the latest one, if the page went elsewhere.
    pub(super) main: Option<MainResponse>,
    pub(super) crashed: bool,
    /// How often the page has asked to be led elsewhere.
    pub(super) departures: u32,
    /// The first failed request that must not fail.
    pub(super) failed_request: Option<String>,
    /// Requests on their way that count for network idleness.
    in_flight: HashMap<String, InFlight>,
    /// Since when there have been none, and at most two.
    quiet_since: [Option<Instant>; 2],
    /// Since when there have been none but for fonts.
    fonts_alone_since: Option<Instant>,
}

#[derive(Clone, Debug)]
struct InFlight {
    /// The session that told of it.
    session: String,
    is_font: bool,
}

/// A document and what it has reached.
#[derive(Clone, Debug, Default)]
struct Document {
    loader: String,
    /// Names of lifecycle events (`load`, `DOMContentLoaded`, …).
    events: HashSet<String>,
}

/// A document by the frame it was opened in and its loader, as the answer to a navigation names it.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened {
    pub(super) frame: String,
    pub(super) loader: String,
}

#[derive(Clone, Debug)]
pub(super) struct MainResponse {
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// What the egress proxy has to say, where the answer is its own.
    pub(super) egress: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycle {
    frame_id: String,
    loader_id: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stopped {
    frame_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestedNavigation {
    frame_id: String,
    #[serde(default)]
    disposition: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestStarted {
    request_id: String,
    loader_id: Option<String>,
    frame_id: Option<String>,
    r#type: Option<String>,
    request: RequestUrl,
}

#[derive(Deserialize)]
struct RequestUrl {
    url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseReceived {
    request_id: String,
    r#type: String,
    frame_id: Option<String>,
    response: ResponseHead,
}

#[derive(Deserialize)]
struct ResponseHead {
    url: String,
    status: i64,
    #[serde(default)]
    headers: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestEnded {
    request_id: String,
    #[serde(default)]
    error_text: String,
    #[serde(default)]
    canceled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attached {
    session_id: String,
    target_info: TargetInfo,
}

#[derive(Deserialize)]
struct TargetInfo {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detached {
    session_id: String,
}

impl PageState {
    fn new() -> PageState {
        let now = Some(Instant::now());
        PageState {
            documents: HashMap::new(),
            begun: HashSet::new(),
            first: None,
            not_opened: None,
            stopped: HashMap::new(),
            main: None,
            crashed: false,
            departures: 0,
            failed_request: None,
            in_flight: HashMap::new(),
            quiet_since: [now, now],
            fonts_alone_since: now,
        }
    }

    /// How the page's own document has fared: its loader once it is there, or why it did not come. None as long as that is
    /// open.
    pub(super) fn opening(&self) -> Option<Result<&str, &str>> {
        if let Some(error) = &self.not_opened {
            return Some(Err(error));
        }
        self.first.as_deref().filter(|first| self.begun.contains(*first)).map(Ok)
    }

    /// Whether the opened document, or one that it led to in the same frame, has reached a lifecycle event. The tab's blank
    /// page reported its own events before, and frames report theirs; neither counts.
    pub(super) fn reached(&self, opened: &Opened, event: &str) -> bool {
        let current = self.documents.get(&opened.frame);
        self.begun.contains(&opened.loader) && current.is_some_and(|document| document.events.contains(event))
    }

    /// Whether nothing more comes of the document that is shown now, and if it broke off why.
    pub(super) fn stopped(&self, opened: &Opened) -> Option<Option<&str>> {
        self.stopped.get(self.current(&opened.frame)?).map(Option::as_deref)
    }

    /// The loader of the document that a frame shows now.
    pub(super) fn current(&self, frame: &str) -> Option<&str> {
        self.documents.get(frame).map(|document| document.loader.as_str())
    }

    /// How long there have been at most `connections` (0 or 2) requests on their way.
    pub(super) fn quiet_for(&self, connections: usize) -> Option<Duration> {
        let since = if connections == 0 { self.quiet_since[0] } else { self.quiet_since[1] };
        since.map(|since| since.elapsed())
    }

    /// How long nothing but fonts has been on its way.
    pub(super) fn fonts_alone_for(&self) -> Option<Duration> {
        self.fonts_alone_since.map(|since| since.elapsed())
    }

    fn ended(&mut self, request: &str) {
        self.in_flight.remove(request);
        self.count();
    }

    fn count(&mut self) {
        let note = |since: &mut Option<Instant>, holds: bool| match holds {
            true => _ = since.get_or_insert_with(Instant::now),
            false => *since = None,
        };
        for (quiet_since, limit) in self.quiet_since.iter_mut().zip([0, 2]) {
            note(quiet_since, self.in_flight.len() <= limit);
        }
        note(&mut self.fonts_alone_since, self.in_flight.values().all(|request| request.is_font));
    }

    fn live_on(&mut self, frame: String, loader: String, event: String) {
        let document = self.documents.entry(frame).or_default();
        if self.begun.insert(loader.clone()) || event == "init" {
            *document = Document { loader, events: HashSet::from([event]) };
        } else if document.loader == loader {
            document.events.insert(event);
        }
    }

    fn apply(&mut self, session: &str, event: &Event, main_frame: &str) {
        match event.method.as_str() {
            "Page.lifecycleEvent" => {
                if let Some(lifecycle) = event.read::<Lifecycle>() {
                    self.live_on(lifecycle.frame_id, lifecycle.loader_id, lifecycle.name);
                }
            }
            "Page.frameStoppedLoading" => {
                // After its load event, or because the page had enough of itself.
                if let Some(stopped) = event.read::<Stopped>()
                    && let Some(loader) = self.current(&stopped.frame_id).map(str::to_owned)
                {
                    self.stopped.entry(loader).or_insert(None);
                }
            }
            "Page.frameRequestedNavigation" => {
                let Some(navigation) = event.read::<RequestedNavigation>() else { return };
                if navigation.frame_id == main_frame && navigation.disposition != "newWindow" {
                    self.departures += 1;
                }
            }
            "Network.requestWillBeSent" => {
                let Some(request) = event.read::<RequestStarted>() else { return };
                let is_document = request.r#type.as_deref() == Some("Document");
                if self.first.is_none() && is_document && request.frame_id.as_deref() == Some(main_frame) {
                    self.first = request.loader_id;
                }
                // These stay open for as long as the page likes; waiting for them would be waiting for ever.
                let endless = matches!(
                    request.r#type.as_deref(),
                    Some("EventSource" | "WebSocket" | "Ping" | "Media" | "Prefetch")
                );
                if !endless {
                    let is_font = request.r#type.as_deref() == Some("Font");
                    self.in_flight.insert(request.request_id, InFlight { session: session.to_owned(), is_font });
                    self.count();
                }
            }
            "Network.responseReceived" => {
                let Some(response) = event.read::<ResponseReceived>() else { return };
                if response.r#type == "EventSource" {
                    self.ended(&response.request_id);
                }
                if response.r#type == "Document" && response.frame_id.as_deref() == Some(main_frame) {
                    self.main = Some(MainResponse::new(response.response));
                }
            }
            "Network.loadingFinished" | "Network.loadingFailed" => {
                if let Some(ended) = event.read::<RequestEnded>() {
                    self.ended(&ended.request_id);
                    // The request for a document has the id of its loader.
                    let is_first = self.first.as_ref() == Some(&ended.request_id);
                    match (ended.error_text.is_empty(), self.begun.contains(&ended.request_id)) {
                        (true, _) => {}
                        (false, true) => {
                            self.stopped.insert(ended.request_id, Some(ended.error_text).filter(|_| !ended.canceled));
                        }
                        (false, false) if is_first => self.not_opened = Some(ended.error_text),
                        (false, false) => {}
                    }
                }
            }
            "Target.detachedFromTarget" => {
                // Its requests end with it, and nobody will say so.
                if let Some(detached) = event.read::<Detached>() {
                    self.in_flight.retain(|_, request| request.session != detached.session_id);
                    self.count();
                }
            }
            "Inspector.targetCrashed" => self.crashed = true,
            _ => {}
        }
    }
}

impl MainResponse {
    fn new(head: ResponseHead) -> MainResponse {
        let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let headers: BTreeMap<String, String> =
            head.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), text(value))).collect();
        // Inside TLS only the site itself can have written the header, so there it means nothing.
        let plain = head.url.starts_with("http:");
        MainResponse {
            status: u16::try_from(head.status).unwrap_or(0),
            egress: headers.get(MARKER.as_str()).filter(|_| plain).cloned(),
            headers,
        }
    }
}

/// What to do with requests that the browser pauses for us, and which of them to watch.
pub(super) struct Interception {
    pub(super) main_frame: String,
    /// The page's address, to judge what is a third party.
    pub(super) page: String,
    /// The caller's HTML, served under this address so that it has an ordinary https origin.
    pub(super) document: Option<(String, String)>,
    /// Headers for requests to this origin alone: a page's third parties must not see its credentials.
    pub(super) headers: Option<(String, Vec<(String, String)>)>,
    pub(super) blocking: Blocking,
    pub(super) blocklists: Arc<Blocklists>,
    /// `blocking.requests`, read.
    pub(super) blocked: Vec<UrlPattern>,
    /// Requests that must not fail.
    pub(super) needed: Vec<UrlPattern>,
}

impl Interception {
    /// What asks the browser to pause requests; None when nothing is to be intercepted.
    pub(super) fn enable(&self) -> Option<FetchEnableParams> {
        let patterns = match &self.document {
            // A request that is redirected to another origin carries the extra headers along unless it is looked at
            // again, so with them, too, everything is.
            _ if self.headers.is_some() || blocking::wants_requests(&self.blocking) => vec!["*".to_owned()],
            Some((url, _)) => vec![url.clone()],
            None => return None,
        };
        let pattern = |url| RequestPattern { url_pattern: Some(url), ..RequestPattern::default() };
        let patterns = Some(patterns.into_iter().map(pattern).collect());
        Some(FetchEnableParams { patterns, ..FetchEnableParams::default() })
    }

    /// Whether a request is one that the caller does not want made. The page itself is always wanted.
    fn stops(&self, paused: &EventRequestPaused) -> bool {
        let kind = &paused.resource_type;
        if *kind == ResourceType::Document && paused.frame_id.inner() == &self.main_frame {
            return false;
        }
        let url = paused.request.url.as_str();
        self.blocking.resources.iter().any(|name| name == blocking::vendor_name(kind))
            || self.blocked.iter().any(|pattern| pattern.matches(url))
            || self.blocklists.stops(&self.blocking, url, &self.page, kind)
    }

    /// The headers to send with a request instead of its own; None to send it as it is.
    fn headers_for(&self, paused: &EventRequestPaused) -> Option<Vec<HeaderEntry>> {
        let (origin, extra) = self.headers.as_ref()?;
        let url = paused.request.url.as_str();
        let own = url.strip_prefix(origin.as_str()).is_some_and(|rest| rest.starts_with(['/', '?', '#']));
        if !own && paused.redirected_request_id.is_none() {
            return None;
        }
        let given = paused.request.headers.inner().as_object().cloned().unwrap_or_default();
        let is_extra = |name: &String| extra.iter().any(|(extra, _)| extra.eq_ignore_ascii_case(name));
        let kept = given.into_iter().filter(|(name, _)| !is_extra(name));
        let kept = kept.map(|(name, value)| HeaderEntry::new(name, value.as_str().unwrap_or_default()));
        let added = extra.iter().filter(|_| own).map(|(name, value)| HeaderEntry::new(name.clone(), value.clone()));
        Some(kept.chain(added).collect())
    }
}

/// Reads a page's events until it is dropped.
pub(super) struct Watcher {
    state: watch::Receiver<PageState>,
    /// Frames of a recording, for whoever makes one.
    frames: Option<mpsc::UnboundedReceiver<Event>>,
    task: tokio::task::JoinHandle<()>,
}

type Events = SelectAll<BoxStream<'static, (Arc<Session>, Event)>>;

fn events_of(
    session: Arc<Session>,
    events: mpsc::UnboundedReceiver<Event>,
) -> BoxStream<'static, (Arc<Session>, Event)> {
    let next = |(session, mut events): (Arc<Session>, mpsc::UnboundedReceiver<Event>)| async move {
        let event = events.recv().await?;
        Some(((session.clone(), event), (session, events)))
    };
    futures::stream::unfold((session, events), next).boxed()
}

impl Watcher {
    pub(super) fn start(
        session: Arc<Session>,
        events: mpsc::UnboundedReceiver<Event>,
        interception: Interception,
    ) -> Watcher {
        let (sender, state) = watch::channel(PageState::new());
        let (filmed, frames) = mpsc::unbounded_channel();
        let interception = Arc::new(interception);
        let task = tokio::spawn(async move {
            let mut streams: Events = SelectAll::new();
            streams.push(events_of(session, events));
            // Addresses of requests under way, kept only if some of them must not fail.
            let mut addresses = HashMap::new();
            // What a pause calls XHR may be a fetch or an event stream; how it was announced tells them apart.
            let announced: Arc<Mutex<HashMap<String, ResourceType>>> = Arc::default();
            let distinguish = !interception.blocking.resources.is_empty();
            while let Some((session, event)) = streams.next().await {
                match event.method.as_str() {
                    "Page.javascriptDialogOpening" => {
                        tokio::spawn(async move {
                            let _ = session.call(HandleJavaScriptDialogParams::new(false), ANSWER_LIMIT).await;
                        });
                    }
                    "Page.screencastFrame" => {
                        // None comes before it is asked for, and then somebody listens.
                        let _ = filmed.send(event);
                    }
                    "Fetch.requestPaused" => {
                        if let Some(mut paused) = event.read::<EventRequestPaused>() {
                            let (interception, announced) = (interception.clone(), announced.clone());
                            tokio::spawn(async move {
                                if distinguish && paused.resource_type == ResourceType::Xhr {
                                    paused.resource_type = announced_kind(&paused, &announced).await;
                                }
                                answer_paused(&session, paused, &interception).await
                            });
                        } else if let Some(paused) = event.read::<RequestEnded>() {
                            // A kind of request that this program is too old to know must not wait for ever.
                            let go_on = ContinueRequestParams::new(paused.request_id);
                            tokio::spawn(async move { session.call(go_on, ANSWER_LIMIT).await.map(|_| ()) });
                        }
                    }
                    "Target.attachedToTarget" => {
                        if let Some(attached) = event.read::<Attached>() {
                            let (child, events) = session.child(&attached.session_id);
                            let child = Arc::new(child);
                            streams.push(events_of(child.clone(), events));
                            let enable = interception.enable();
                            tokio::spawn(async move { adopt(&child, &attached.target_info.r#type, enable).await });
                        }
                    }
                    _ => {
                        if distinguish
                            && event.method == "Network.requestWillBeSent"
                            && let Some(request) = event.read::<RequestStarted>()
                            && let Some(kind) = request.r#type.and_then(|kind| kind.parse().ok())
                        {
                            let mut announced = announced.lock().unwrap_or_else(PoisonError::into_inner);
                            announced.insert(request.request_id, kind);
                        }
                        let failed = failed_request(&event, &interception.needed, &mut addresses);
                        sender.send_modify(|state| {
                            state.apply(session.id(), &event, &interception.main_frame);
                            if state.failed_request.is_none() {
                                state.failed_request = failed;
                            }
                        });
                    }
                }
            }
        });
        Watcher { state, frames: Some(frames), task }
    }

    /// Waits until the state is as wanted, or the page crashed, or the browser is gone.
    pub(super) async fn until(&mut self, wanted: impl Fn(&PageState) -> bool) -> PageState {
        match self.state.wait_for(|state| state.crashed || wanted(state)).await {
            Ok(state) => state.clone(),
            Err(_) => PageState { crashed: true, ..PageState::new() },
        }
    }

    /// The frames of a recording; there is one taker.
    pub(super) fn take_frames(&mut self) -> Option<mpsc::UnboundedReceiver<Event>> {
        self.frames.take()
    }

    pub(super) fn now(&self) -> PageState {
        self.state.borrow().clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks that frames of other sites, workers and popups report to us, and wait until they have been dealt with: a frame of
/// another site lives in a process of its own, whose requests its page does not see.
pub(super) fn auto_attach() -> SetAutoAttachParams {
    let mut attach = SetAutoAttachParams::new(true, true);
    attach.flatten = Some(true);
    attach
}

/// Deals with something that the page has opened: a frame is watched as the page is, a window is closed.
async fn adopt(child: &Session, kind: &str, enable: Option<FetchEnableParams>) {
    if kind == "page" {
        let _ = child.call(CloseParams::default(), ANSWER_LIMIT).await;
        return;
    }
    if kind == "iframe" {
        let _ = futures::join!(
            child.call(NetworkEnableParams::default(), ANSWER_LIMIT),
            child.call(auto_attach(), ANSWER_LIMIT),
            async {
                if let Some(enable) = enable {
                    let _ = child.call(enable, ANSWER_LIMIT).await;
                }
            },
        );
    }
    let _ = child.call(RunIfWaitingForDebuggerParams::default(), ANSWER_LIMIT).await;
}

/// The address of a request that must not fail and did: no answer, or one that says so. What we stopped did not fail.
fn failed_request(event: &Event, needed: &[UrlPattern], addresses: &mut HashMap<String, String>) -> Option<String> {
    if needed.is_empty() {
        return None;
    }
    let is_needed = |url: &str| needed.iter().any(|pattern| pattern.matches(url));
    match event.method.as_str() {
        "Network.requestWillBeSent" => {
            let request = event.read::<RequestStarted>()?;
            if is_needed(&request.request.url) {
                addresses.insert(request.request_id, request.request.url);
            }
            None
        }
        "Network.responseReceived" => {
            let response = event.read::<ResponseReceived>()?.response;
            (response.status >= 400 && is_needed(&response.url)).then_some(response.url)
        }
        "Network.loadingFinished" => {
            addresses.remove(&event.read::<RequestEnded>()?.request_id);
            None
        }
        "Network.loadingFailed" => {
            let failed = event.read::<RequestEnded>()?;
            let url = addresses.remove(&failed.request_id)?;
            (!failed.canceled && !failed.error_text.starts_with("net::ERR_BLOCKED_BY_CLIENT")).then_some(url)
        }
        _ => None,
    }
}

/// The kind that a paused request was announced as. The announcement may come after the pause, so a little time is left
/// for it.
async fn announced_kind(paused: &EventRequestPaused, announced: &Mutex<HashMap<String, ResourceType>>) -> ResourceType {
    let Some(id) = &paused.network_id else { return paused.resource_type.clone() };
    for _ in 0..100 {
        if let Some(kind) = announced.lock().unwrap_or_else(PoisonError::into_inner).remove(id.inner()) {
            return kind;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    paused.resource_type.clone()
}

async fn answer_paused(session: &Session, paused: EventRequestPaused, interception: &Interception) {
    let url = paused.request.url.as_str();
    if let Some((_, html)) = interception.document.as_ref().filter(|(address, _)| address == url) {
        let mut fulfil = FulfillRequestParams::new(paused.request_id, 200);
        fulfil.response_headers = Some(vec![HeaderEntry::new("content-type", "text/html; charset=utf-8")]);
        fulfil.body = Some(BASE64.encode(html).into());
        let _ = session.call(fulfil, ANSWER_LIMIT).await;
        return;
    }
    if interception.stops(&paused) {
        let stop = FailRequestParams::new(paused.request_id, ErrorReason::BlockedByClient);
        let _ = session.call(stop, ANSWER_LIMIT).await;
        return;
    }
    let mut go_on = ContinueRequestParams::new(paused.request_id.clone());
    go_on.headers = interception.headers_for(&paused);
    let _ = session.call(go_on, ANSWER_LIMIT).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_opened_document_and_what_it_leads_to_count() {
        let mut state = PageState::new();
        let opened = Opened { frame: "main".to_owned(), loader: "page".to_owned() };
        let mut event = |frame: &str, loader: &str, name: &str| {
            state.live_on(frame.to_owned(), loader.to_owned(), name.to_owned());
            state.reached(&opened, "load")
        };
        assert!(!event("main", "blank", "init"));
        assert!(!event("main", "blank", "load"), "the blank page is not the page");
        assert!(!event("main", "page", "init"));
        assert!(!event("main", "blank", "load"), "late news of the blank page");
        assert!(!event("child", "frame", "init"));
        assert!(!event("child", "frame", "load"), "a frame is not the page");
        assert!(event("main", "page", "load"));
        assert!(event("child", "another", "init"), "a frame takes nothing away");
        assert!(!event("main", "redirected", "init"), "the page leads elsewhere");
        assert!(event("main", "redirected", "load"));
    }
}
